// The common parts of the Users and Errors tables: cursor paging, loading and error states, sortable columns.

import { h, icon, show, text } from "./dom.js";
import { isFocusLost } from "./focus.js";
import { number } from "./format.js";
import { complaint } from "./problem_box.js";

export const PAGE = 50;

/**
 * Loads and pages through a list.
 * @template Item
 */
export class Pages {
  /**
   * Called when loading starts and ends.
   * @type {((state: "loading" | "ready" | "broken") => unknown) | undefined}
   */
  onstate;
  /** @type {AbortController | undefined} */
  abort;
  /** @type {string | null} */
  nextCursor = null;

  /**
   * @param {{
   *   fetch: (cursor: string | null, signal: AbortSignal) => Promise<Page<Item>>,
   *   draw: (items: Item[]) => unknown,
   *   empty: HTMLElement,
   * }} options `empty` is shown instead of an empty list
   */
  constructor({ fetch, draw, empty }) {
    this.fetch = fetch;
    this.draw = draw;
    /** The cursors of the pages up to the current one. */
    this.cursors = /** @type {(string | null)[]} */ ([null]);
    this.items = /** @type {Item[]} */ ([]);
    this.total = 0;
    this.previous = h("button", { type: "button", onclick: () => this.turn(-1) }, icon("prev"), "Previous");
    this.next = h("button", { type: "button", onclick: () => this.turn(1) }, "Next", icon("next"));
    this.range = h("p", { class: "range", role: "status", tabindex: "-1" });
    this.pager = h("nav", { class: "pager", "aria-label": "Pages" }, this.range, this.previous, this.next);
    this.empty = empty;
    this.broken = h("div", { class: "broken", role: "alert", hidden: true });
  }

  /** Load the first page. */
  restart() {
    this.cursors = [null];
    return this.load();
  }

  /** @param {1 | -1} by */
  async turn(by) {
    if (by > 0) this.cursors.push(this.nextCursor);
    else this.cursors.pop();
    await this.load();
    if (isFocusLost()) this.range.focus(); // the focused button is disabled on the first and last page
    this.pager.scrollIntoView({ block: "nearest" });
  }

  /** Reload the current page. `quietly`: show neither the loading state nor an error. */
  async load(quietly = false) {
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    if (!quietly) this.onstate?.("loading");
    try {
      const answer = await this.fetch(this.cursors.at(-1) ?? null, abort.signal);
      if (abort.signal.aborted) return;
      this.show(answer);
    } catch (problem) {
      if ((problem instanceof DOMException && problem.name === "AbortError") || quietly) return;
      this.#fail(problem);
    }
  }

  /**
   * Show a page that has been fetched.
   * @param {Page<Item>} page
   */
  show({ items, next, total }) {
    this.items = items;
    this.total = total;
    this.nextCursor = next;
    show(this.broken, false);
    this.draw(items);
    const from = (this.cursors.length - 1) * PAGE;
    text(this.range, total ? `${number(from + 1)}–${number(from + items.length)} of ${number(total)}` : "");
    this.previous.disabled = this.cursors.length === 1;
    this.next.disabled = !next;
    show(this.pager, total > 0);
    show(this.empty, items.length === 0);
    this.onstate?.("ready");
  }

  /** @param {unknown} problem */
  #fail(problem) {
    const retry = h("button", { type: "button", onclick: () => this.load() }, "Try again");
    this.broken.replaceChildren(...complaint(problem, "Loading failed", retry));
    show(this.broken, true);
    this.onstate?.("broken");
  }
}

/**
 * A sortable column header.
 * @param {string} label
 * @param {string} sort the key to sort by
 * @param {() => string} current the current sort key, prefixed with "-" for descending order
 * @param {(sort: string) => unknown} choose
 */
export function sortable(label, sort, current, choose) {
  const button = h(
    "button",
    { type: "button", onclick: () => choose(current() === sort ? `-${sort}` : sort) },
    label,
    icon("up"),
  );
  const cell = h("th", { scope: "col", class: `c-${sort.replace("_at", "")}` }, button);
  const paint = () => {
    const direction = { [sort]: "ascending", [`-${sort}`]: "descending" }[current()];
    if (direction) cell.setAttribute("aria-sort", direction);
    else cell.removeAttribute("aria-sort");
  };
  return { cell, paint };
}
