// Keeps the keyboard focus when parts of the page are redrawn.

/** Whether no element has the focus, because the focused one was removed, hidden or disabled. */
export const isFocusLost = () => {
  const { activeElement: element } = document;
  return !element || element === document.body || !element.checkVisibility();
};

/**
 * Redraw the content of `root`. If that removes the focused element, focus the new element with the same `data-key`,
 * `href` or `aria-label`, or else `fallback`.
 * @param {HTMLElement} root
 * @param {() => unknown} draw
 * @param {HTMLElement} [fallback]
 */
export function keepFocus(root, draw, fallback = root) {
  const focused = root.contains(document.activeElement) ? document.activeElement : null;
  const key = focused && keyOf(focused);
  draw();
  if (!focused || (root.contains(focused) && !isFocusLost())) return;
  /** @type {NodeListOf<HTMLElement>} */
  const candidates = root.querySelectorAll("a, button, summary, [tabindex]");
  const same = key ? [...candidates].find((each) => keyOf(each) === key) : null;
  (same ?? fallback).focus({ preventScroll: true });
}

/** @param {Element} element */
const keyOf = (element) =>
  element.closest("[data-key]")?.getAttribute("data-key") ??
  element.getAttribute("href") ??
  element.getAttribute("aria-label");
