// What the tables of Users and Errors have in common: loading, a page at a time by cursor, empty, broken.

import { h, icon, show, text } from "./dom.js";
import { isFocusLost } from "./focus.js";
import { number } from "./format.js";
import { complaint } from "./problem_box.js";

export const PAGE = 50;

export class Pages {
  /** `fetch(cursor, signal)` answers {items, next, total}; `draw(items)` shows them; `words` are the empty state's. */
  constructor({ fetch, draw, empty }) {
    this.fetch = fetch;
    this.draw = draw;
    this.cursors = [null];
    this.items = [];
    this.total = 0;
    this.previous = h("button", { type: "button", onclick: () => this.turn(-1) }, icon("prev"), "Previous");
    this.next = h("button", { type: "button", onclick: () => this.turn(1) }, "Next", icon("next"));
    this.range = h("p", { class: "range", role: "status", tabindex: "-1" });
    this.pager = h("nav", { class: "pager", "aria-label": "Pages" }, this.range, this.previous, this.next);
    this.empty = empty;
    this.broken = h("div", { class: "broken", role: "alert", hidden: true });
    this.state = "idle";
  }

  /** From the first page. */
  restart() {
    this.cursors = [null];
    return this.load();
  }

  async turn(by) {
    if (by > 0) this.cursors.push(this.following);
    else this.cursors.pop();
    await this.load();
    if (isFocusLost()) this.range.focus(); // it was on a button that is disabled now
    this.pager.scrollIntoView({ block: "nearest" });
  }

  /** Load the page that is shown, again. `quietly`: without the look of loading, and a failure stays unsaid. */
  async load(quietly = false) {
    this.abort?.abort();
    const abort = (this.abort = new AbortController());
    if (!quietly) this.onstate?.("loading");
    try {
      const answer = await this.fetch(this.cursors.at(-1), abort.signal);
      if (abort.signal.aborted) return;
      this.show(answer);
    } catch (problem) {
      if (problem.name === "AbortError" || quietly) return;
      this.#fail(problem);
    }
  }

  /** A page that somebody has fetched. */
  show({ items, next, total }) {
    this.items = items;
    this.total = total;
    this.following = next;
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

  #fail(problem) {
    const again = h("button", { type: "button", onclick: () => this.load() }, "Try again");
    this.broken.replaceChildren(...complaint(problem, "This could not be loaded", again));
    show(this.broken, true);
    this.onstate?.("broken");
  }
}

/** A head cell that sorts. `sort` is the key, `current()` the one in force, with - for downwards. */
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
