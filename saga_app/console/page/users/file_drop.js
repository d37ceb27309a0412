// Drag and drop of a file anywhere on the page.

import { show } from "../core/dom.js";

/**
 * Show `target` while a file is dragged over the page, and call `dropped(file)` when it is dropped.
 * @param {HTMLElement} target @param {(file: File) => void} dropped
 */
export function fileDrop(target, dropped) {
  let depth = 0;
  /** @param {DragEvent} event */
  const hasFile = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (!hasFile(event)) return;
    depth += 1;
    show(target, true);
  });
  addEventListener("dragleave", (event) => {
    if (!hasFile(event)) return;
    depth -= 1;
    if (depth <= 0) show(target, false);
  });
  addEventListener("dragover", (event) => hasFile(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    depth = 0;
    show(target, false);
    const [file] = event.dataTransfer?.files ?? [];
    if (file) dropped(file);
  });
}
