// The Trace Mode switch. It affects only what this page reads: the services publish the same records either way.

import { $, text } from "../core/dom.js";
import { setTrace, store } from "../core/store.js";
import { load } from "../stream/sync.js";

const SAYS = { on: "Every step, as it happens.", off: "Only results, when a saga has ended." };

export function trace() {
  const button = $("#trace");
  const paint = () => {
    button.setAttribute("aria-checked", String(store.trace));
    text($("#trace-says"), store.trace ? SAYS.on : SAYS.off);
    document.body.classList.toggle("trace-off", !store.trace);
  };
  button.addEventListener("click", () => {
    setTrace(!store.trace);
    paint();
    load();
  });
  paint();
}
