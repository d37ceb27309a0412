// Keeping the keyboard focus where it is while the page changes under it.

/** Whether no element has the focus: the one that had it was removed, hidden or disabled. */
export const isFocusLost = () => {
  const { activeElement: element } = document;
  return !element || element === document.body || !element.checkVisibility();
};

/**
 * Draw the inside of `root` again. If that takes the focused element away, the new one with the same `data-key` or
 * `href` gets the focus, or else `fallback`.
 */
export function keepFocus(root, draw, fallback = root) {
  const focused = root.contains(document.activeElement) ? document.activeElement : null;
  const key = focused && keyOf(focused);
  draw();
  if (!focused || (root.contains(focused) && !isFocusLost())) return;
  const same = key && [...root.querySelectorAll("a, button, summary, [tabindex]")].find((each) => keyOf(each) === key);
  (same ?? fallback).focus({ preventScroll: true });
}

const keyOf = (element) =>
  element.closest("[data-key]")?.dataset.key ?? element.getAttribute("href") ?? element.getAttribute("aria-label");
