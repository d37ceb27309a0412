// The System view: the services, the broker, and how long things take.

import { h, icon } from "../core/dom.js";
import { duration, number, plural, rate, sentence } from "../core/format.js";
import { STATES, STATIONS } from "../core/plan.js";
import { store, subscribe } from "../core/store.js";

const DOES = {
  provisioner: "assigns devices, begins and ends every saga",
  authorizer: "grants what the department's policy says",
  notifier: "sends the mail",
  console: "reads the topics, and shows this page",
};
const STEPS = [...STATIONS.map(({ step }) => step), ...STATIONS.map(({ undo }) => undo).reverse()];
/** From here on the embedded broker is nearly full. */
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

function status(good, yes, no) {
  return h(
    "span",
    { class: "chip", "data-meaning": good ? "done" : "trouble" },
    icon(good ? "check" : "warn"),
    good ? yes : no,
  );
}

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

function service(key, { up, workers, lag, reason }) {
  return card(sentence(key), status(up, "up", "down"), reason || DOES[key] || "", [
    ["workers", workers == null ? "–" : number(workers)],
    ["lag", lag == null ? "–" : plural(lag, "record")],
  ]);
}

/** It is the one that sends these figures, so what there is to say is how far behind the topics it is. */
function console_({ not_ready: reason, delay }) {
  const live = store.connection.state === "live";
  const chip = live && !reason ? status(true, "up") : status(false, "", live ? "catching up" : "away");
  return card("Console", chip, reason || DOES.console, [
    ["behind, p50", duration(delay?.p50)],
    ["behind, p99", duration(delay?.p99)],
  ]);
}

function broker({ embedded, up, fill }) {
  const facts = [["kept", embedded ? "in memory" : "on disk"]];
  if (fill != null) facts.push(["filled", `${Math.round(fill * 100)} %${fill >= NEARLY_FULL ? ", nearly full" : ""}`]);
  const words = embedded ? "the embedded one: everything is gone when you stop it" : "Apache Kafka";
  return card("Broker", status(up !== false, "up", "down"), words, facts);
}

function timing({ duration: took, rate: ended, lag }) {
  return card("Time", null, "from the press to the end", [
    ["a saga, p50", duration(took?.p50)],
    ["a saga, p99", duration(took?.p99)],
    ["finished", rate(ended)],
    ["lag of a step", lag ? `${lag} s` : "–"],
  ]);
}

function states({ counts, overdue }) {
  const facts = Object.entries(STATES).map(([state, { label }]) => [label.toLowerCase(), number(counts?.[state] ?? 0)]);
  return card("Sagas", null, "by state", [...facts, ["overdue", number(overdue ?? 0)]]);
}

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
