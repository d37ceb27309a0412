// The stations above the lanes: for each step its service, its task, the number of sagas at it, and whether it is up.

import { h, icon, show, text } from "../core/dom.js";
import { duration, number, rate } from "../core/format.js";
import { inMotion, isKnown, laneOf, lastLane, plan } from "../core/plan.js";
import { store } from "../core/store.js";

export function stations() {
  const cards = plan.steps.map((step, lane) => new StationCard(step, lane === lastLane()));
  const track = h(
    "ol",
    { class: "track", "aria-label": "Stations" },
    cards.map((card) => card.element),
  );
  track.style.setProperty("--columns", plan.steps.map((_, lane) => (lane === lastLane() ? "1fr" : "2fr")).join(" "));
  const element = h(
    "div",
    { class: "stations" },
    h("p", { class: "who" }, "User"),
    track,
    h("p", { class: "end" }, "Time"),
  );
  return {
    element,
    track,
    /**
     * Show the number of sagas in motion at each station, and with `flows` the rates.
     * @param {Traveller[]} travellers
     * @param {boolean} flows
     */
    count(travellers, flows) {
      const counts = cards.map(() => 0);
      for (const { row } of travellers) if (inMotion(row) && isKnown(row.step)) counts[laneOf(row.step)] += 1;
      for (const [lane, card] of cards.entries()) card.count(counts[lane], flows);
    },
    /** @param {Stats} stats */
    stats(stats) {
      for (const card of cards) card.stats(stats);
    },
  };
}

class StationCard {
  /** @param {PlanStep} step @param {boolean} isLast */
  constructor(step, isLast) {
    this.step = step;
    this.here = h("b", { class: "here" });
    this.rate = h("span");
    this.slowest = h("span", { class: "slowest" });
    this.flow = h("p", { class: "flow", hidden: true }, this.rate, this.slowest);
    this.down = h("p", { class: "down", hidden: true }, icon("warn"), h("span", {}, "down"));
    this.element = h(
      "li",
      { class: "station", title: step.summary ? `${step.label}: ${step.summary}` : step.label },
      h("span", { class: "disc" }, icon(step.icon)),
      h(
        "div",
        { class: "words" },
        h("p", { class: "title" }, h("span", { class: "label" }, step.label), this.here),
        // The last lane can be too narrow for the label.
        isLast && h("p", { class: "short" }, "End"),
        step.summary && h("p", { class: "does" }, step.summary),
        this.flow,
        this.down,
      ),
    );
  }

  /** @param {number} here @param {boolean} flows */
  count(here, flows) {
    text(this.here, here && store.trace ? number(here) : "");
    this.element.classList.toggle("busy", here > 0 && store.trace);
    show(this.flow, flows);
  }

  /** @param {Stats} stats */
  stats(stats) {
    const step = stats.steps?.[this.step.name];
    const service = stats.services?.[this.step.service];
    text(this.rate, rate(step?.rate));
    text(this.slowest, `slowest ${duration(step?.slowest)}`);
    const down = service?.up === false;
    show(this.down, down);
    this.element.classList.toggle("is-down", down);
  }
}
