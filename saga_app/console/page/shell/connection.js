// The banner that reports a lost connection: since when, and when the next attempt is.

import { $, h, icon, show, text } from "../core/dom.js";
import { clock } from "../core/format.js";
import { store, subscribe } from "../core/store.js";
import { retryNow } from "../stream/sync.js";

/** Shorter interruptions are not shown. */
const PATIENCE_MS = 400;
/** How long the banner says that the connection is back. */
const BACK_MS = 3000;

export function connection() {
  const line = $("#connection");
  const says = h("p", { class: "says" });
  const detail = h("p", { class: "detail" });
  const button = h("button", { type: "button", onclick: retryNow }, "Reconnect now");
  line.append(icon("unplugged"), h("div", {}, says, detail), button);
  let shownAt = 0;
  let timer = 0;

  const paint = () => {
    const { state, since, nextTry } = store.connection;
    if (state === "lost") {
      const now = Date.now();
      if (now - since < PATIENCE_MS) return;
      shownAt = now;
      show(line, true);
      line.classList.remove("back");
      text(says, `Connection lost at ${clock(since)}.`);
      const wait = Math.ceil((nextTry - now) / 1000);
      const attempt = wait > 0 ? `Reconnecting in ${wait} s.` : "Reconnecting…";
      text(detail, `${ago(now - since)} ago. ${attempt} The page may be out of date.`);
    } else if (!line.hidden && state === "live") {
      line.classList.add("back");
      text(says, "Reconnected.");
      text(detail, "No events were missed.");
      if (Date.now() - shownAt > BACK_MS) show(line, false);
    }
    const isBusy = state === "lost" || !line.hidden;
    if (isBusy && !timer) timer = setInterval(paint, 250);
    if (!isBusy && timer) {
      clearInterval(timer);
      timer = 0;
    }
  };
  subscribe((changed) => {
    if (!changed.has("connection")) return;
    timer ||= setInterval(paint, 250);
    paint();
  });
}

/** @param {number} ms */
function ago(ms) {
  const s = Math.floor(ms / 1000);
  return s < 60 ? `${s} s` : `${Math.floor(s / 60)} min ${s % 60} s`;
}
