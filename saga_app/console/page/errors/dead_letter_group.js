// Dead letters with the same service, step and error: a summary that expands to a paged table of the letters.

import { sagaAddress } from "../core/address.js";
import { api } from "../core/api.js";
import { h, icon, show, text } from "../core/dom.js";
import { clock, number, plural } from "../core/format.js";
import { serviceLabel } from "../core/plan.js";
import { PAGE, Pages } from "../core/table.js";
import { when } from "../core/time.js";
import { ask, howMany } from "./confirm.js";
import { letter } from "./dead_letter.js";

/** @import { Said } from "./dead_letter.js" */

const HEADS = [
  ["Message", "c-record"],
  ["Saga", "c-id"],
  ["Error", "c-reason"],
  ["Attempts", "c-attempts"],
  ["Parked", "c-at"],
];

/** @param {DeadLetterGroup} group */
export const keyOf = ({ service, step, error }) => JSON.stringify([service, step, error]);

let groups = 0;

export class Group {
  open = false;
  /** The rows of the current page, by the letter's name. @type {Map<string, Line>} */
  lines = new Map();
  count = h("span", { class: "g-count" });
  example = h("span", { class: "g-reason" });
  times = h("span", { class: "g-times" });
  rows = h("tbody");
  redriveLabel = h("span");
  rollbackLabel = h("span");

  /** @param {DeadLetterGroup} item @param {() => ErrorFilter} filter of the view @param {Said} said */
  constructor(item, filter, said) {
    this.item = item;
    this.filter = filter;
    this.said = said;
    const id = `group-${++groups}`;
    this.toggle = this.#head(id);
    this.body = h("div", { id, class: "g-body", hidden: true });
    this.rollback = this.#button("rollback", icon("back"), this.rollbackLabel);
    this.pages = this.#table();
    this.element = h("li", { class: "group" }, h("h2", {}, this.toggle), this.body);
    this.update(item);
  }

  /** @param {string} id of the element that the head expands */
  #head(id) {
    const { service, step, error } = this.item;
    return h(
      "button",
      { type: "button", class: "g-head", "aria-expanded": "false", "aria-controls": id, onclick: () => this.turn() },
      icon("next"),
      this.count,
      h("span", { class: "g-where" }, `${serviceLabel(service)}, `, h("span", { class: "g-step" }, step)),
      h("span", { class: "chip", "data-meaning": "trouble" }, icon("warn"), error),
      this.example,
      this.times,
    );
  }

  /** @param {Intent} intent @param {Element[]} children */
  #button(intent, ...children) {
    return h("button", { type: "button", onclick: () => this.act(intent) }, ...children);
  }

  /** Fill the body with the buttons and the table of letters. */
  #table() {
    const heads = HEADS.map(([label, key]) => h("th", { scope: "col", class: key }, label));
    const head = h("thead", {}, h("tr", {}, heads));
    const table = h("table", { class: "errors-table", "aria-label": "Dead letters" }, head, this.rows);
    const empty = h("p", { class: "hint", hidden: true }, "No message of this group is parked any more.");
    const pages = new Pages({
      fetch: (cursor, signal) => api.errors({ ...this.all(), limit: PAGE, cursor }, signal),
      draw: (items) => {
        this.#draw(items);
        show(table, items.length > 0);
      },
      empty,
    });
    pages.onstate = (state) => this.body.classList.toggle("loading", state === "loading");
    const scroller = h("div", { class: "table-scroll" }, table, empty);
    const redrive = this.#button("redrive", icon("retry"), this.redriveLabel);
    const actions = h("div", { class: "actions" }, redrive, this.rollback);
    this.body.append(actions, pages.broken, scroller, pages.pager);
    return pages;
  }

  /** The filter that matches this group only. @returns {ErrorFilter} */
  all() {
    const { service, step, error } = this.item;
    return { ...this.filter(), service, step, error };
  }

  /** @param {DeadLetterGroup} item */
  update(item) {
    const changed = JSON.stringify(item) !== JSON.stringify(this.item);
    this.item = item;
    const { count, first_at: first, last_at: last } = item;
    text(this.count, number(count));
    this.count.setAttribute("aria-label", plural(count, "dead letter"));
    text(this.example, item.reason);
    this.#showTimes(first, last);
    text(this.redriveLabel, `Redrive ${number(count)}…`);
    text(this.rollbackLabel, `Roll back ${number(count)}…`);
    if (this.open && changed) this.pages.load(true);
  }

  /** Show when the first and the last letter were parked. @param {string} first @param {string} last */
  #showTimes(first, last) {
    const key = `${first} ${last}`;
    if (this.times.dataset.key === key) return;
    this.times.dataset.key = key;
    const isOne = clock(first) === clock(last);
    this.times.replaceChildren(when(first, clock), ...(isOne ? [] : [" to ", when(last, clock)]));
  }

  /** Expand or collapse. */
  turn(open = !this.open) {
    this.open = open;
    this.toggle.setAttribute("aria-expanded", String(open));
    show(this.body, open);
    if (open) this.pages.restart();
  }

  /** Keep the elements of letters that are still listed, and so details and focus. @param {DeadLetterItem[]} items */
  #draw(items) {
    const focused = this.rows.contains(document.activeElement);
    const wanted = new Map(items.map((item) => [item.name, this.lines.get(item.name) ?? new Line(item, this.said)]));
    for (const [name, line] of this.lines) if (!wanted.has(name)) line.remove();
    this.lines = wanted;
    let place = this.rows.firstElementChild;
    for (const line of wanted.values()) {
      for (const element of line.elements) {
        if (element === place) place = place.nextElementSibling;
        else this.rows.insertBefore(element, place);
      }
    }
    show(
      this.rollback,
      items.some((item) => item.readable),
    );
    if (focused && !this.rows.contains(document.activeElement)) this.toggle.focus();
  }

  /** @param {Intent} intent */
  async act(intent) {
    const { service } = this.item;
    const at = ` parked at the ${serviceLabel(service)}`;
    const verb = intent === "redrive" ? "Redrive" : "Roll back";
    /** @param {number} count */
    const title = (count) => `${verb} ${howMany(intent, count)}${at}?`;
    const done = await ask({ intent, title, filter: this.all() });
    if (done) this.said(done);
  }

  /** The saga ids of the listed letters, none while collapsed. */
  ids() {
    return this.open ? this.pages.items.flatMap((item) => item.id || []) : [];
  }
}

/** A dead letter as two table rows: the summary, and the details that it expands. */
class Line {
  /** @param {DeadLetterItem} item @param {Said} said */
  constructor(item, said) {
    this.item = item;
    this.said = said;
    this.toggle = h(
      "button",
      { type: "button", class: "l-toggle mono", "aria-expanded": "false", onclick: () => this.turn() },
      icon("next"),
      item.name,
    );
    const saga = item.id ? h("a", { href: sagaAddress(item.id) }, item.id) : "unreadable";
    this.row = h(
      "tr",
      {},
      h("th", { scope: "row", class: "c-record" }, this.toggle),
      h("td", { class: "c-id mono" }, saga),
      h("td", { class: "c-reason" }, item.reason),
      h("td", { class: "c-attempts" }, plural(item.attempts, "attempt")),
      h("td", { class: "c-at" }, when(item.at, clock)),
    );
    this.cell = h("td", { colspan: HEADS.length });
    this.opened = h("tr", { class: "l-opened", hidden: true }, this.cell);
    this.elements = [this.row, this.opened];
  }

  turn() {
    const open = this.opened.hidden;
    this.toggle.setAttribute("aria-expanded", String(open));
    show(this.opened, open);
    this.cell.replaceChildren(...(open ? [letter(this.item, this.said)] : []));
  }

  remove() {
    for (const element of this.elements) element.remove();
  }
}
