// The System view: the services, the broker, and the duration of sagas and steps.

import { h, icon } from "../core/dom.js";
import { duration, number, plural, rate } from "../core/format.js";
import { plan, STATES, serviceLabel, serviceSummary, stepTitle } from "../core/plan.js";
import { store, subscribe } from "../core/store.js";

const CONSOLE = "console";
/** The steps in the order of the plan, then the compensations in the order of a rollback. */
const STEPS = [...plan.steps, ...executionOrder()].map(({ name }) => name);
/** The share of the embedded broker's space from which on the view warns. */
const NEARLY_FULL = 0.8;

export function system() {
  const services = h("div", { class: "cards" });
  const rest = h("div", { class: "cards three" });
  const steps = h("tbody");
  const table = h(
    "table",
    { class: "steps-table", "aria-label": "Steps" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        ["Step", "Waiting or in progress", "Rate", "Slowest"].map((title) => h("th", { scope: "col" }, title)),
      ),
    ),
    steps,
  );
  const waiting = h("p", { class: "intro" }, "Loading the figures…");
  const element = h(
    "div",
    { class: "system" },
    waiting,
    services,
    rest,
    h("div", { class: "table-scroll", tabindex: "0", role: "region", "aria-label": "Steps" }, table),
  );
  let visible = false;

  function paint() {
    const { stats } = store;
    if (!stats) return;
    waiting.remove();
    const names = sorted(Object.keys(stats.services ?? {}), plan.services).filter((name) => name !== CONSOLE);
    services.replaceChildren(...names.map((name) => service(name, stats.services[name])), console_(stats));
    rest.replaceChildren(broker(stats.broker ?? {}), timing(stats), states(stats));
    steps.replaceChildren(
      ...sorted(Object.keys(stats.steps ?? {}), STEPS).map((step) => stepLine(step, stats.steps[step])),
    );
  }
  subscribe((changed) => visible && (changed.has("stats") || changed.has("connection")) && paint());

  return {
    element,
    shown() {
      visible = true;
      paint();
    },
    hidden() {
      visible = false;
    },
    ids: () => [],
  };
}

/** The compensations in the order of a rollback: that of the last step first. */
function executionOrder() {
  const names = plan.steps.flatMap(({ compensation }) => compensation ?? []).reverse();
  return plan.compensations.toSorted((a, b) => names.indexOf(a.name) - names.indexOf(b.name));
}

/** The names in this order, then those that the order does not have. @param {string[]} names @param {string[]} order */
const sorted = (names, order) => [
  ...order.filter((name) => names.includes(name)),
  ...names.filter((name) => !order.includes(name)),
];

/** @param {boolean} good @param {string} yes @param {string} [no] not needed if `good` is always true */
function status(good, yes, no) {
  return h(
    "span",
    { class: "chip", "data-meaning": good ? "done" : "trouble" },
    icon(good ? "check" : "warn"),
    good ? yes : no,
  );
}

/**
 * @param {string} title
 * @param {HTMLElement | null} chip
 * @param {string} words
 * @param {[string, string][]} facts terms and values
 */
function card(title, chip, words, facts) {
  return h(
    "section",
    { class: "card", "aria-label": title },
    h("header", {}, h("h2", {}, title), chip),
    h("p", { class: "does" }, words),
    h(
      "dl",
      {},
      facts.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))),
    ),
  );
}

/** @param {string} name @param {Stats["services"][string]} figures */
function service(name, { up, workers, lag, reason }) {
  return card(serviceLabel(name), status(up, "up", "down"), reason || serviceSummary(name), [
    ["workers", workers == null ? "–" : number(workers)],
    ["lag", lag == null ? "–" : plural(lag, "record")],
  ]);
}

/**
 * The console sends these figures itself, so instead of workers and lag its card shows the delay behind the topics.
 * @param {Stats} stats
 */
function console_({ not_ready: reason, delay }) {
  const live = store.connection.state === "live";
  const chip = live && !reason ? status(true, "up") : status(false, "", live ? "catching up" : "disconnected");
  return card("Console", chip, reason || "reads all topics, serves this page", [
    ["delay, p50", duration(delay?.p50)],
    ["delay, p99", duration(delay?.p99)],
  ]);
}

/** @param {Partial<Stats["broker"]>} figures */
function broker({ embedded, up, fill }) {
  /** @type {[string, string][]} */
  const facts = [["storage", embedded ? "in memory" : "on disk"]];
  if (fill != null) facts.push(["used", `${Math.round(fill * 100)} %${fill >= NEARLY_FULL ? ", nearly full" : ""}`]);
  const words = embedded ? "embedded: all data is lost when it stops" : "Apache Kafka";
  return card("Broker", status(up !== false, "up", "down"), words, facts);
}

/** @param {Stats} stats */
function timing({ duration: took, rate: ended, lag }) {
  return card("Duration", null, "from the request to the end of the saga", [
    ["p50", duration(took?.p50)],
    ["p99", duration(took?.p99)],
    ["finished", rate(ended)],
    ["simulated lag per step", lag ? `${lag} s` : "–"],
  ]);
}

/** @param {Stats} stats */
function states({ counts, overdue }) {
  /** @type {[string, string][]} */
  const facts = Object.entries(STATES).map(([state, { label }]) => [label.toLowerCase(), number(counts?.[state] ?? 0)]);
  return card("Sagas", null, "by state", [...facts, ["overdue", number(overdue ?? 0)]]);
}

/** @param {string} step @param {Stats["steps"][string]} figures */
function stepLine(step, { waiting, rate: ended, slowest }) {
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, stepTitle(step)),
    h("td", {}, number(waiting)),
    h("td", {}, rate(ended)),
    h("td", {}, waiting ? duration(slowest) : "–"),
  );
}
