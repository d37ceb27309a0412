// The figures at the top, the error count on its tab, and the footer.

import { $, h, icon, show, text } from "../core/dom.js";
import { duration, number, plural, rate } from "../core/format.js";
import { store, subscribe } from "../core/store.js";

export function figures() {
  subscribe((changed) => {
    if (changed.has("stats") && store.stats) paint(store.stats);
    if (changed.has("connection")) document.body.dataset.connection = store.connection.state;
  });
}

/** @param {Stats} stats */
function paint(stats) {
  text($("#in-flight"), number(stats.in_flight));
  text($("#rate"), rate(stats.rate));
  text($("#p50"), duration(stats.duration?.p50));
  const count = $("#error-count");
  show(count, stats.errors > 0);
  text(count, number(stats.errors));
  count.setAttribute("aria-label", `${plural(stats.errors, "dead letter")}`);
  footer(stats);
}

/** @param {Stats} stats */
function footer(stats) {
  const foot = $("#footer");
  if (!foot.firstChild) foot.append(h("p", { class: "where" }), h("p", { class: "delay" }));
  const [where, delay] = [$(".where", foot), $(".delay", foot)];
  const kind = String(Boolean(stats.broker?.embedded));
  if (where.dataset.embedded !== kind) {
    where.dataset.embedded = kind;
    where.replaceChildren(
      icon("memory"),
      stats.broker?.embedded ? "In memory: lost when the broker stops." : "Stored in Kafka.",
    );
  }
  if (stats.not_ready) return text(delay, `The console is catching up: ${stats.not_ready}`);
  return text(
    delay,
    stats.delay?.p50 == null
      ? ""
      : `From Kafka to this page in ${duration(stats.delay.p50)} (p99 ${duration(stats.delay.p99)}).`,
  );
}
