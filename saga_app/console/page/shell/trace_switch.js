// The Trace Mode switch. It changes only what this page looks at: the services send nothing for it, on or off.

import { $, text } from "../core/dom.js";
import { setTrace, store } from "../core/store.js";
import { load } from "../stream/sync.js";

const SAYS = { true: "Every step, as it happens.", false: "Only results, when a saga has ended." };

export function trace() {
  const button = $("#trace");
  const paint = () => {
    button.setAttribute("aria-checked", String(store.trace));
    text($("#trace-says"), SAYS[store.trace]);
    document.body.classList.toggle("trace-off", !store.trace);
  };
  button.addEventListener("click", () => {
    setTrace(!store.trace);
    paint();
    load();
  });
  paint();
}
