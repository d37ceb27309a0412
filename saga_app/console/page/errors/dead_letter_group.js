// Dead letters of one kind: how many, since when, an example; opened, its letters a page at a time.

import { api } from "../core/api.js";
import { h, icon, show, text } from "../core/dom.js";
import { clock, number, plural, sentence } from "../core/format.js";
import { sagaAddress } from "../core/router.js";
import { PAGE, Pages } from "../core/table.js";
import { when } from "../core/time.js";
import { ask, howMany } from "./confirm.js";
import { letter } from "./dead_letter.js";

const HEADS = [
  ["Message", "c-record"],
  ["Saga", "c-id"],
  ["What went wrong", "c-reason"],
  ["Attempts", "c-attempts"],
  ["Given up", "c-at"],
];

export const keyOf = ({ service, step, error }) => JSON.stringify([service, step, error]);

let groups = 0;

export class Group {
  /** `filter()` is the view's own, and `said(sentence)` is told what has been done. */
  constructor(item, filter, said) {
    this.item = item;
    this.filter = filter;
    this.said = said;
    this.open = false;
    this.lines = new Map();
    this.#head();
    this.#body();
    this.element = h("li", { class: "group" }, h("h2", {}, this.toggle), this.body);
    this.update(item);
  }

  #head() {
    const id = `group-${++groups}`;
    this.count = h("span", { class: "g-count" });
    this.example = h("span", { class: "g-reason" });
    this.times = h("span", { class: "g-times" });
    const { service, step, error } = this.item;
    this.toggle = h(
      "button",
      { type: "button", class: "g-head", "aria-expanded": "false", "aria-controls": id, onclick: () => this.turn() },
      icon("next"),
      this.count,
      h("span", { class: "g-where" }, `${sentence(service)}, `, h("span", { class: "g-step" }, step)),
      h("span", { class: "chip", "data-meaning": "trouble" }, icon("warn"), error),
      this.example,
      this.times,
    );
    this.body = h("div", { id, class: "g-body", hidden: true });
  }

  #body() {
    const heads = HEADS.map(([label, key]) => h("th", { scope: "col", class: key }, label));
    this.rows = h("tbody");
    const head = h("thead", {}, h("tr", {}, heads));
    const table = h("table", { class: "errors-table", "aria-label": "Dead letters" }, head, this.rows);
    const empty = h("p", { class: "hint", hidden: true }, "None of these is open any more.");
    this.pages = new Pages({
      fetch: (cursor, signal) => api.errors({ ...this.all(), limit: PAGE, cursor }, signal),
      draw: (items) => {
        this.#draw(items);
        show(table, items.length > 0);
      },
      empty,
    });
    this.pages.onstate = (state) => this.body.classList.toggle("loading", state === "loading");
    this.redrive = h("button", { type: "button", onclick: () => this.act("redrive") }, icon("retry"), h("span"));
    this.rollback = h("button", { type: "button", onclick: () => this.act("rollback") }, icon("back"), h("span"));
    const scroller = h("div", { class: "table-scroll" }, table, empty);
    const actions = h("div", { class: "actions" }, this.redrive, this.rollback);
    this.body.append(actions, this.pages.broken, scroller, this.pages.pager);
  }

  /** The filter that means this group. */
  all() {
    const { service, step, error } = this.item;
    return { ...this.filter(), service, step, error };
  }

  update(item) {
    const changed = JSON.stringify(item) !== JSON.stringify(this.item);
    this.item = item;
    const { count, first_at: first, last_at: last } = item;
    text(this.count, number(count));
    this.count.setAttribute("aria-label", plural(count, "dead letter"));
    text(this.example, item.reason);
    this.#spell(first, last);
    text(this.redrive.lastChild, `Redrive ${number(count)}…`);
    text(this.rollback.lastChild, `Roll back ${number(count)}…`);
    if (this.open && changed) this.pages.load(true);
  }

  /** When the first and the last were given up. */
  #spell(first, last) {
    const key = `${first} ${last}`;
    if (this.times.dataset.key === key) return;
    this.times.dataset.key = key;
    const isOne = clock(first) === clock(last);
    this.times.replaceChildren(when(first, clock), ...(isOne ? [] : [" to ", when(last, clock)]));
  }

  turn(open = !this.open) {
    this.open = open;
    this.toggle.setAttribute("aria-expanded", String(open));
    show(this.body, open);
    if (open) this.pages.restart();
  }

  /** Rows that stay keep their element, and so what is opened in them, and the focus. */
  #draw(items) {
    const focused = this.rows.contains(document.activeElement);
    const line = (item) => this.lines.get(item.name) ?? new Line(item, this.said);
    const wanted = new Map(items.map((item) => [item.name, line(item)]));
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

  async act(intent) {
    const { service } = this.item;
    const at = ` ${intent === "redrive" ? "of" : "that stopped at"} the ${sentence(service)}`;
    const verb = intent === "redrive" ? "Redrive" : "Roll back";
    const title = (count) => `${verb} ${howMany(intent, count)}${at}?`;
    const done = await ask({ intent, title, filter: this.all() });
    if (done) this.said(done);
  }

  ids() {
    return this.open ? this.pages.items.map((item) => item.id).filter(Boolean) : [];
  }
}

/** A dead letter as two rows: one that opens the other. */
class Line {
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
