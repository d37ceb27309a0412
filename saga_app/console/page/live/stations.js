// The four stations above the lanes: the service, its task, the number of sagas at it, and whether it is up.

import { h, icon, show, text } from "../core/dom.js";
import { duration, number, rate } from "../core/format.js";
import { inMotion, laneOf, STATIONS } from "../core/plan.js";
import { store } from "../core/store.js";

export function stations() {
  const cards = STATIONS.map((station) => new StationCard(station));
  const track = h(
    "ol",
    { class: "track", "aria-label": "Stations" },
    cards.map((card) => card.element),
  );
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
      const counts = STATIONS.map(() => 0);
      for (const { row } of travellers) if (inMotion(row)) counts[laneOf(row.step)] += 1;
      for (const [lane, card] of cards.entries()) card.count(counts[lane], flows);
    },
    /** @param {Stats} stats */
    stats(stats) {
      for (const card of cards) card.stats(stats);
    },
  };
}

class StationCard {
  /** @param {Station} station */
  constructor(station) {
    this.station = station;
    this.here = h("b", { class: "here" });
    this.rate = h("span");
    this.slowest = h("span", { class: "slowest" });
    this.flow = h("p", { class: "flow", hidden: true }, this.rate, this.slowest);
    this.down = h("p", { class: "down", hidden: true }, icon("warn"), "down");
    this.element = h(
      "li",
      { class: "station" },
      h("span", { class: "disc" }, icon(station.icon)),
      h(
        "div",
        { class: "words" },
        h("p", { class: "title" }, station.label, this.here),
        h("p", { class: "does" }, station.does),
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
    const step = stats.steps?.[this.station.step];
    const service = stats.services?.[this.station.service];
    text(this.rate, rate(step?.rate));
    text(this.slowest, `slowest ${duration(step?.slowest)}`);
    const down = service?.up === false;
    show(this.down, down);
    this.element.classList.toggle("is-down", down);
  }
}
