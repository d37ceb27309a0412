// On a narrow window: the button that shows the other ways to onboard, the Trace Mode and the department filter.

import { $ } from "../core/dom.js";

export function options() {
  const button = $("#options");
  button.addEventListener("click", () => {
    const isOpen = document.body.classList.toggle("with-options");
    button.setAttribute("aria-expanded", String(isOpen));
  });
  // What sticks below the bar at the top has to know how high that is.
  const top = $(".top");
  new ResizeObserver(() => document.body.style.setProperty("--top", `${top.offsetHeight}px`)).observe(top);
}
