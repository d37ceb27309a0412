// On a narrow window: the button that shows the other onboarding methods, Trace Mode and the department filter.

import { $ } from "../core/dom.js";

export function options() {
  const button = $("#options");
  button.addEventListener("click", () => {
    const isOpen = document.body.classList.toggle("with-options");
    button.setAttribute("aria-expanded", String(isOpen));
  });
  // Sticky elements below the top bar are positioned by its height.
  const top = $(".top");
  new ResizeObserver(() => document.body.style.setProperty("--top", `${top.offsetHeight}px`)).observe(top);
}
