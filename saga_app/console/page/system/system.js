// The System view: the services, the broker, and the duration of sagas and steps.

import { h, icon } from "../core/dom.js";
import { duration, number, plural, rate, sentence } from "../core/format.js";
import { STATES, STATIONS } from "../core/plan.js";
import { store, subscribe } from "../core/store.js";

/** @type {Record<string, string>} */
const DOES = {
  provisioner: "assigns devices, begins and ends every saga",
  authorizer: "grants what the department's policy says",
  notifier: "sends the mail",
  console: "reads the topics, and shows this page",
};
const UNDOS = STATIONS.map(({ undo }) => undo).filter((undo) => undo != null);
const STEPS = [...STATIONS.map(({ step }) => step), ...UNDOS.reverse()];
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
        ["Step", "Waiting or at work", "Rate", "Slowest now"].map((title) => h("th", { scope: "col" }, title)),
      ),
    ),
    steps,
  );
  const waiting = h("p", { class: "intro" }, "Waiting for the first figures…");
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
    services.replaceChildren(
      ...Object.entries(stats.services ?? {})
        .filter(([key]) => key !== "console")
        .map(([key, value]) => service(key, value)),
      console_(stats),
    );
    rest.replaceChildren(broker(stats.broker ?? {}), timing(stats), states(stats));
    steps.replaceChildren(
      ...STEPS.filter((step) => stats.steps?.[step]).map((step) => stepLine(step, stats.steps[step])),
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

/** @param {string} key @param {Stats["services"][string]} figures */
function service(key, { up, workers, lag, reason }) {
  return card(sentence(key), status(up, "up", "down"), reason || DOES[key] || "", [
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
  const chip = live && !reason ? status(true, "up") : status(false, "", live ? "catching up" : "away");
  return card("Console", chip, reason || DOES.console, [
    ["behind, p50", duration(delay?.p50)],
    ["behind, p99", duration(delay?.p99)],
  ]);
}

/** @param {Partial<Stats["broker"]>} figures */
function broker({ embedded, up, fill }) {
  /** @type {[string, string][]} */
  const facts = [["kept", embedded ? "in memory" : "on disk"]];
  if (fill != null) facts.push(["filled", `${Math.round(fill * 100)} %${fill >= NEARLY_FULL ? ", nearly full" : ""}`]);
  const words = embedded ? "the embedded one: everything is gone when you stop it" : "Apache Kafka";
  return card("Broker", status(up !== false, "up", "down"), words, facts);
}

/** @param {Stats} stats */
function timing({ duration: took, rate: ended, lag }) {
  return card("Time", null, "from the press to the end", [
    ["a saga, p50", duration(took?.p50)],
    ["a saga, p99", duration(took?.p99)],
    ["finished", rate(ended)],
    ["lag of a step", lag ? `${lag} s` : "–"],
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
    h("th", { scope: "row" }, sentence(step)),
    h("td", {}, number(waiting)),
    h("td", {}, rate(ended)),
    h("td", {}, waiting ? duration(slowest) : "–"),
  );
}
