// The line that says that the server is not there, since when, and that the page is trying.

import { $, h, icon, show, text } from "../core/dom.js";
import { clock } from "../core/format.js";
import { store, subscribe } from "../core/store.js";
import { retryNow } from "../stream/sync.js";

/** A hiccup shorter than this is not worth a word. Milliseconds. */
const PATIENCE_MS = 400;
const BACK_MS = 3000;

export function connection() {
  const line = $("#connection");
  const says = h("p", { class: "says" });
  const detail = h("p", { class: "detail" });
  const button = h("button", { type: "button", onclick: retryNow }, "Try now");
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
      text(
        detail,
        `${ago(now - since)} ago. ${wait > 0 ? `Trying again in ${wait} s.` : "Trying now…"} What you see is from before.`,
      );
    } else if (!line.hidden && state === "live") {
      line.classList.add("back");
      text(says, "Connected again.");
      text(detail, "Nothing was missed.");
      if (Date.now() - shownAt > BACK_MS) show(line, false);
    }
    const busy = state === "lost" || !line.hidden;
    if (busy && !timer) timer = setInterval(paint, 250);
    if (!busy && timer) timer = clearInterval(timer) ?? 0;
  };
  subscribe((changed) => {
    if (!changed.has("connection")) return;
    timer ||= setInterval(paint, 250);
    paint();
  });
}

function ago(ms) {
  const s = Math.floor(ms / 1000);
  return s < 60 ? `${s} s` : `${Math.floor(s / 60)} min ${s % 60} s`;
}
