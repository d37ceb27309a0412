// The row of one user: a lane for each step, a token that moves through them, and the result of each step.

import { sagaAddress } from "../core/address.js";
import { now as serverTime } from "../core/clock.js";
import { h, icon, name, show, text } from "../core/dom.js";
import { duration, initials } from "../core/format.js";
import { inMotion, plan, stateOf } from "../core/plan.js";
import { compensated, legs, place, turnOf } from "./journey.js";
import { overLane, PAD } from "./lanes.js";
import { Leg } from "./leg.js";
import { usualTime } from "./pace.js";
import { remark, result, retrying } from "./row_notes.js";

/** @import { Lane } from "./lanes.js" */

/** Time constant (ms) with which the token approaches its position, so that it glides to the next lane. */
const GLIDE_MS = 70;

const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Row {
  /** @param {Traveller} traveller @param {Lane[]} lanes */
  constructor(traveller, lanes) {
    const { row } = traveller;
    this.traveller = traveller;
    this.lanes = lanes;
    /** @type {number | null} */
    this.x = null;
    this.y = 0;
    /** @type {Leg | null} The leg whose step has no result yet. */
    this.open = null;
    /** @type {number | null} The lane in which the rollback starts. */
    this.turn = null;
    this.note = h("span", { class: "note" });
    this.letters = h("span", { class: "letters" }, initials(row.user.name));
    this.sign = h("span", { class: "sign" });
    this.token = h("span", { class: "token", "aria-hidden": "true" }, this.letters, this.sign);
    this.legs = plan.steps.map((_, lane) => new Leg(lane));
    this.below = h("i", { class: "below" });
    this.took = h("span", { class: "took" });
    this.result = h("span", { class: "result" });
    this.element = h(
      "li",
      { class: "run", "data-id": row.id },
      h("div", { class: "who" }, h("a", { href: sagaAddress(row.id) }, name(row.user.name)), this.note),
      h(
        "div",
        { class: "track" },
        h("i", { class: "rail" }),
        plan.steps.map((_, lane) => overLane(h("i", { class: `stop lane-${lane}` }), lane, plan.steps.length)),
        this.below,
        this.legs.map((leg) => leg.element),
        this.token,
      ),
      h("div", { class: "end" }, this.took, this.result),
    );
    this.update(traveller);
  }

  /**
   * Draw the current state of the saga.
   * @param {Traveller} traveller
   */
  update(traveller) {
    this.traveller = traveller;
    const { row, signals } = traveller;
    const state = stateOf(row);
    this.element.dataset.state = row.state;
    this.element.dataset.meaning = row.overdue && inMotion(row) ? "trouble" : state.meaning;
    const back = compensated(row);
    const open = new Map(legs(row).map((leg) => [leg.lane, leg]));
    this.open = null;
    for (const leg of this.legs) {
      const data = open.get(leg.lane);
      leg.paint(data, row, signals, back, this.lanes[leg.lane]);
      if (data && data.endedAt == null) this.open = leg;
    }
    this.#sign(row, state);
    this.#line(row);
    this.tick(serverTime());
  }

  /**
   * Draw the token's icon.
   * @param {Saga} row
   * @param {StateLook} state
   */
  #sign(row, state) {
    const sign = row.state === "running" ? (row.overdue ? "late" : "") : state.icon;
    if (this.sign.dataset.icon === sign) return;
    this.sign.dataset.icon = sign;
    this.sign.replaceChildren(...(sign ? [icon(sign)] : []));
    show(this.letters, !sign);
  }

  /**
   * Show the line below the lanes on which the token returns during a rollback.
   * @param {Saga} row
   */
  #line(row) {
    this.turn = turnOf(row);
    this.element.classList.toggle("turned", this.turn != null);
  }

  /**
   * Update the texts that change with time; a few times a second is enough.
   * @param {number} now the server's time (ms)
   */
  tick(now) {
    const { row, signals } = this.traveller;
    const again = inMotion(row) ? retrying(row, signals, now) : null;
    this.element.classList.toggle("retrying", again != null);
    text(this.note, again ? `${row.user.department} · retrying` : remark(row));
    this.open?.tick(now, again ?? (row.state === "parked" ? "parked" : null));
    const took = inMotion(row) ? Math.max(0, now - Date.parse(row.started_at)) / 1000 : row.duration;
    text(this.took, took == null ? "" : duration(took));
    text(this.result, result(row));
  }

  /**
   * Draw one animation frame.
   * @param {number} now the server's time (ms)
   * @param {number} elapsed ms since the last frame
   */
  frame(now, elapsed) {
    const { row } = this.traveller;
    const at = place(row, now, usualTime());
    const lane = this.lanes[at.lane];
    const x = lane.x + at.along * lane.width;
    const y = at.back ? 1 : 0;
    const share = this.x == null || still.matches ? 1 : 1 - Math.exp(-elapsed / GLIDE_MS);
    const nextX = this.x == null ? x : this.x + (x - this.x) * share;
    const nextY = this.x == null ? y : this.y + (y - this.y) * share;
    if (this.x != null && Math.abs(nextX - this.x) < 0.05 && Math.abs(nextY - this.y) < 0.01) return;
    this.x = nextX;
    this.y = nextY;
    this.token.style.transform = `translate(${(nextX - PAD).toFixed(1)}px, calc(var(--drop) * ${nextY.toFixed(2)}))`;
    this.open?.grow(nextX - lane.x, lane.width);
    if (this.turn != null) this.#draw(nextX, this.lanes[this.turn]);
  }

  /**
   * Draw the rollback line from the token to the end of the lane in which the rollback started.
   * @param {number} x
   * @param {Lane} turn
   */
  #draw(x, turn) {
    const last = this.lanes[this.lanes.length - 1];
    const total = last.x + last.width + PAD;
    const right = turn.x + turn.width;
    this.below.style.clipPath = `inset(0 ${(total - right).toFixed(1)}px 0 ${Math.min(x, right).toFixed(1)}px)`;
  }
}
