// Times on the page: in the browser's time zone, with UTC in a tooltip. Reformatted after midnight.

import { h, text } from "./dom.js";
import { utc, zone } from "./format.js";

const CHECK_MS = 30_000;
/**
 * The format of each time element.
 * @type {WeakMap<Element, (at: string) => string>}
 */
const formats = new WeakMap();

/**
 * The time in UTC; null if the browser's time zone is UTC.
 * @param {string} at
 * @param {"" | "time"} [form] "time" omits the date
 */
export function inUtc(at, form = "") {
  const isShown = zone(new Date(at)) === "UTC";
  return isShown ? null : h("span", { class: "utc" }, form === "time" ? utc(at).slice(11) : utc(at));
}

/**
 * A time element, or "–" without a time.
 * @param {string | null | undefined} at ISO 8601
 * @param {(at: string) => string} format
 */
export function when(at, format) {
  if (at == null) return h("span", {}, "–");
  const element = h("time", { datetime: at, title: utc(at) }, format(at));
  formats.set(element, format);
  return element;
}

// Times of the current day are shown without a date, so they are reformatted when the day changes.
let today = new Date().toDateString();
setInterval(() => {
  if (today === new Date().toDateString()) return;
  today = new Date().toDateString();
  for (const element of document.querySelectorAll("time")) {
    const format = formats.get(element);
    if (format) text(element, format(element.getAttribute("datetime") ?? ""));
  }
}, CHECK_MS);
