// A time on the page: in the browser's zone, with UTC at hand, and right also after midnight.

import { h, text } from "./dom.js";
import { utc, zone } from "./format.js";

const CHECK_MS = 30_000;
/** Each time element and how it is formatted. */
const formats = new WeakMap();

/** The same time in UTC, unless the browser shows UTC anyway. `form`: "time", or with the date. */
export function inUtc(at, form = "") {
  const isShown = zone(new Date(at)) === "UTC";
  return isShown ? null : h("span", { class: "utc" }, form === "time" ? utc(at).slice(11) : utc(at));
}

/** `format` is one of format.js, `at` an ISO time in UTC; "–" without one. */
export function when(at, format) {
  if (at == null) return h("span", {}, "–");
  const element = h("time", { datetime: at, title: utc(at) }, format(at));
  formats.set(element, format);
  return element;
}

/** At midnight the times of today become those of yesterday, and are shown with their date. */
let today = new Date().toDateString();
setInterval(() => {
  if (today === new Date().toDateString()) return;
  today = new Date().toDateString();
  for (const element of document.querySelectorAll("time")) {
    const format = formats.get(element);
    if (format) text(element, format(element.getAttribute("datetime")));
  }
}, CHECK_MS);
