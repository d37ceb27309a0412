// One lane of a row.

import { h, show, text } from "../core/dom.js";
import { finding, isIdentifier } from "../core/facts.js";
import { duration } from "../core/format.js";
import { isKnown, lastLane, plan } from "../core/plan.js";
import { progress, stretches } from "./journey.js";
import { overLane } from "./lanes.js";
import { usualTime, usualWait } from "./pace.js";

/** @import { SagaLeg, Stretch } from "./journey.js" */
/** @import { Lane } from "./lanes.js" */

/** A lane of a row: a bar whose length is the time spent and whose patterns show what it was spent on, and a label. */
export class Leg {
  /** @param {number} lane */
  constructor(lane) {
    this.lane = lane;
    this.step = plan.steps[lane];
    this.bar = h("span", { class: "bar" });
    this.fact = h("span", { class: "fact" });
    this.time = h("span", { class: "time" });
    const label = h("p", { class: "label" }, this.fact, this.time);
    this.element = overLane(h("div", { class: `leg lane-${lane}` }, label, this.bar), lane, plan.steps.length);
    this.drawn = "";
    /** @type {SagaLeg | undefined} */
    this.leg = undefined;
  }

  /**
   * Draw the lane, or hide it if the saga has not reached it (`leg` is undefined).
   * @param {SagaLeg | undefined} leg
   * @param {Saga} row
   * @param {FailedAttempt[]} signals
   * @param {Map<string, Visit>} back the executed compensations by name
   * @param {Lane} lane
   */
  paint(leg, row, signals, back, lane) {
    const compensation = back.get(this.step.compensation ?? "");
    show(this.element, Boolean(leg));
    this.leg = leg;
    if (!leg) return;
    this.element.dataset.outcome = leg.outcome ?? "open";
    this.element.classList.toggle("undone", Boolean(compensation));
    const usual = usualTime();
    const parts = stretches(leg, signals, usualWait(leg.step, this.step.service));
    this.#stretches(parts, leg, lane, usual);
    if (leg.endedAt == null) return;
    const isDone = leg.outcome === "done";
    const found = isKnown(leg.step) ? finding(this.step, row) : leg.step;
    text(this.fact, isDone ? found : leg.outcome);
    this.fact.title = leg.visit.reason ?? ((compensation?.outcome === "done" && this.step.words.compensated) || found);
    this.fact.classList.toggle("mono", isDone && isIdentifier(this.step, found));
    text(this.time, this.#isLast ? "" : duration((leg.endedAt - leg.requestedAt) / 1000));
    const length = progress(leg.endedAt - leg.requestedAt, usual) * lane.width;
    this.bar.style.clipPath = `inset(0 ${Math.max(0, lane.width - length).toFixed(1)}px 0 0)`;
  }

  /** The last lane is too narrow for a duration, and the end of the row shows the one of the saga. */
  get #isLast() {
    return this.lane === lastLane();
  }

  /**
   * Draw the stretches, if they have changed.
   * @param {Stretch[]} parts
   * @param {SagaLeg} leg
   * @param {Lane} lane
   * @param {number} usual
   */
  #stretches(parts, leg, lane, usual) {
    const key = JSON.stringify([parts, lane.width, usual, leg.attempts]);
    if (key === this.drawn) return;
    this.drawn = key;
    this.bar.style.width = `${lane.width.toFixed(1)}px`;
    this.bar.replaceChildren(
      ...parts.map(({ kind, from, to }) => {
        const piece = h("i", { class: kind });
        const [left, right] = [from, to].map((ms) => (ms === Infinity ? 1 : progress(ms, usual)) * lane.width);
        piece.style.left = `${left.toFixed(1)}px`;
        piece.style.width = `${Math.max(1, right - left).toFixed(1)}px`;
        return piece;
      }),
    );
    // The page does not know the times of attempts that failed before it was loaded: notches in the bar show them.
    const seen = parts.filter((part) => part.kind === "retry").length;
    this.element.classList.toggle("was-retried", leg.attempts > 1 && seen === 0);
  }

  /**
   * Show the first `length` pixels of the bar.
   * @param {number} length
   * @param {number} width
   */
  grow(length, width) {
    this.bar.style.clipPath = `inset(0 ${Math.max(0, width - length).toFixed(1)}px 0 0)`;
  }

  /**
   * Update the label of an open leg. `note` replaces the elapsed time.
   * @param {number} now
   * @param {string | null} note
   */
  tick(now, note) {
    if (!this.leg) return;
    text(this.fact, note ?? (isKnown(this.leg.step) ? "" : this.leg.step));
    text(this.time, note || this.#isLast ? "" : duration(Math.max(0, now - this.leg.requestedAt) / 1000));
  }
}
