// The Users view: all sagas by user, with search, filters, sorting and paging. The address holds the current query.

import { sagaAddress } from "../core/address.js";
import { api } from "../core/api.js";
import { chip } from "../core/chip.js";
import { h, icon, name, show, text } from "../core/dom.js";
import { columnSteps, factText, factTitle, isIdentifier } from "../core/facts.js";
import { keepFocus } from "../core/focus.js";
import { clock, duration, number } from "../core/format.js";
import { hasEnded, inTrouble, STATES } from "../core/plan.js";
import { remember } from "../core/router.js";
import { store, subscribe } from "../core/store.js";
import { PAGE, Pages, sortable } from "../core/table.js";
import { when } from "../core/time.js";
import { segments, stateQuery } from "./segments.js";

/** @typedef {{ q: string, state: string, sort: string }} Query */

const TYPING_MS = 180;
const FRESHEN_MS = 2000;
const DEFAULT_SORT = "-started_at";
const FACT_COLUMNS = columnSteps();
/** Filters that are not saga states. */
const MORE = { pending: "Pending", trouble: "In trouble", overdue: "Overdue" };

export function users() {
  /** @type {Query} */
  const asked = { q: "", state: "", sort: DEFAULT_SORT };
  const search = h("input", {
    id: "search",
    type: "search",
    placeholder: "Name, e-mail or ID",
    "aria-label": "Search users",
    "aria-keyshortcuts": "/",
    autocomplete: "off",
    maxlength: 200,
  });
  const states = h(
    "select",
    { "aria-label": "State" },
    h("option", { value: "" }, "All states"),
    Object.entries(STATES).map(([value, { label }]) => h("option", { value }, label)),
    Object.entries(MORE).map(([value, label]) => h("option", { value }, label)),
  );
  const news = h("button", { type: "button", class: "held", hidden: true });
  /** @param {string} sort */
  const choose = (sort) => ask({ sort });
  const columns = [
    sortable("User", "name", () => asked.sort, choose),
    h("th", { scope: "col", class: "c-department" }, "Department"),
    h("th", { scope: "col", class: "c-state" }, "State"),
    ...FACT_COLUMNS.map((step) => h("th", { scope: "col", class: factClass(step) }, factTitle(step))),
    sortable("Started", "started_at", () => asked.sort, choose),
    sortable("Ended", "ended_at", () => asked.sort, choose),
    sortable("Time", "duration", () => asked.sort, choose),
  ];
  const body = h("tbody");
  const table = h(
    "table",
    { class: "users-table", "aria-label": "Users" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        columns.map((column) => ("cell" in column ? column.cell : column)),
      ),
    ),
    body,
  );
  const emptyTitle = h("p", { class: "big" });
  const emptyHint = h("p", {});
  const empty = h("div", { class: "empty", hidden: true }, emptyTitle, emptyHint);
  const pages = new Pages({ fetch: load, draw, empty });
  const scroller = h(
    "div",
    { class: "table-scroll", tabindex: "0", role: "region", "aria-label": "Users" },
    table,
    empty,
  );
  const quick = segments(
    () => asked.state,
    (state) => ask({ state }),
  );
  const tools = h("div", { class: "tools" }, h("label", { class: "search" }, icon("search"), search), states, news);
  const element = h("div", { class: "users" }, quick.element, tools, pages.broken, scroller, pages.pager);
  pages.onstate = (state) => element.classList.toggle("loading", state === "loading");

  let visible = false;
  /** The counts at the last refresh, and whether they had changed then: `/api/sagas` may lag behind the counts. */
  let seen = "";
  let wasNew = false;
  let timer = 0;

  /** @param {string | null} [cursor] @param {AbortSignal} [signal] @returns {Promise<SagaPage>} */
  function load(cursor, signal) {
    const { q, sort } = asked;
    return api.sagas(
      { q, sort, ...stateQuery(asked.state), department: store.department, limit: PAGE, cursor },
      signal,
    );
  }

  const count = () => Object.values(store.stats?.counts ?? {}).reduce((sum, n) => sum + n, 0);
  const figures = () => JSON.stringify([store.stats?.counts, store.stats?.trouble]);

  /** @param {Saga[]} rows */
  function draw(rows) {
    body.replaceChildren(...rows.map(line));
    for (const column of columns) if ("paint" in column) column.paint();
    element.classList.toggle("troubled", asked.state === "trouble");
    show(news, false);
    const [title, hint] = emptyWords();
    text(emptyTitle, title);
    text(emptyHint, hint);
  }

  function emptyWords() {
    if (asked.state === "trouble" && !asked.q && !store.department)
      return ["No sagas in trouble.", "Sagas that are parked, overdue or not rolled back completely are listed here."];
    if (asked.q || asked.state || store.department)
      return ["No matching users.", "Change the search or remove the filters."];
    return ["No users yet.", "Press New User, or n."];
  }

  /** Change the query and load its first page. @param {Partial<Query>} change */
  function ask(change) {
    Object.assign(asked, change);
    choices();
    remember("users", { ...asked, sort: asked.sort === DEFAULT_SORT ? "" : asked.sort });
    return pages.restart();
  }

  function choices() {
    states.value = asked.state;
    quick.paint();
  }

  /** Update the rows in place; new rows are only offered (see `offer`), unless the page is empty or shows trouble. */
  async function freshen() {
    if (!visible || document.hidden || store.connection.state !== "live") return;
    const isFiltered = Boolean(asked.q || asked.state || store.department);
    const more = count() - pages.total;
    if (!isFiltered) offer(more);
    const isNew = figures() !== seen;
    const mayHaveMore = isFiltered ? isNew || wasNew : more > 0 && !pages.items.length;
    [seen, wasNew] = [figures(), isNew];
    if (!mayHaveMore && asked.state !== "trouble" && pages.items.every(hasEnded)) return;
    const asking = pages.abort;
    const answer = await load(pages.cursors.at(-1), asking?.signal).catch(() => null);
    if (!answer || pages.abort !== asking) return; // the page or the query has changed during the request
    const isReplaced = asked.state === "trouble" && !body.contains(document.activeElement);
    if (isReplaced || !pages.items.length) return pages.show(answer);
    if (isFiltered) offer(answer.total - pages.total);
    merge(answer.items);
  }

  /** Offer to show the rows that were added since the page was loaded. @param {number} more */
  function offer(more) {
    show(news, more > 0);
    text(news, `${number(more)} new · show`);
  }

  /** @param {Saga[]} rows */
  function merge(rows) {
    const now = new Map(rows.map((row) => [row.id, row]));
    pages.items = pages.items.map((row, place) => {
      const fresh = now.get(row.id);
      if (!fresh || fresh.updated_at === row.updated_at) return row;
      keepFocus(body, () => body.children[place]?.replaceWith(line(fresh)), scroller);
      return fresh;
    });
  }

  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => ask({ q: search.value.trim() }), TYPING_MS);
  });
  states.addEventListener("change", () => ask({ state: states.value }));
  news.addEventListener("click", () => pages.restart());
  subscribe((changed) => visible && changed.has("department") && pages.restart());
  setInterval(freshen, FRESHEN_MS);

  return {
    element,
    /** @param {URLSearchParams} query */
    shown(query) {
      visible = true;
      Object.assign(asked, {
        q: query.get("q") ?? "",
        state: query.get("state") ?? "",
        sort: query.get("sort") ?? DEFAULT_SORT,
      });
      search.value = asked.q;
      choices();
      pages.restart();
    },
    hidden() {
      visible = false;
    },
    ids: () => pages.items.map((row) => row.id),
  };
}

/** @param {FactStep} step */
const factClass = (step) => (step.fact_shown_as === "list" ? "c-fact c-list" : "c-fact");

/** @param {FactStep} step @param {Saga} row */
function fact(step, row) {
  const found = factText(step, row.facts);
  const mono = isIdentifier(step, found) ? " mono" : "";
  return h("td", { class: `${factClass(step)}${mono}` }, found || "–");
}

/** The reason, for sagas that need attention. @param {Saga} row */
const trouble = (row) => (inTrouble(row) ? h("span", { class: "sub" }, row.reason ?? row.why) : null);

/** @param {Saga} row */
function line(row) {
  return h(
    "tr",
    { "data-id": row.id },
    h(
      "th",
      { scope: "row", class: "c-name" },
      h("a", { href: sagaAddress(row.id) }, name(row.user.name)),
      h("span", { class: "email" }, row.user.email),
    ),
    h("td", { class: "c-department" }, row.user.department),
    h("td", { class: "c-state", title: row.why }, chip(row), trouble(row)),
    FACT_COLUMNS.map((step) => fact(step, row)),
    h("td", { class: "c-started" }, when(row.started_at, clock)),
    h("td", { class: "c-ended" }, when(row.ended_at, clock)),
    h("td", { class: "c-duration" }, row.duration == null ? "–" : duration(row.duration)),
  );
}
