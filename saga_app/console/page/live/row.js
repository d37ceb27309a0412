// One user on the way: a row with four lanes, a token that travels through them, and what each step found out.

import { h, icon, name, show, text } from "../core/dom.js";
import { countdown, duration, initials, ordinal } from "../core/format.js";
import { inMotion, isUndo, STATIONS, stateOf } from "../core/plan.js";
import { sagaAddress } from "../core/router.js";
import { askedAt, legs, place, turnOf, undone } from "./journey.js";
import { Leg } from "./leg.js";
import { usualTime } from "./pace.js";

/** Half a token: its middle stops this far from the edges of a lane. Pixels. */
export const PAD = 13;
/** The token follows its place with this inertia (ms): a jump to the next lane becomes a short glide. */
const GLIDE_MS = 70;

const still = matchMedia("(prefers-reduced-motion: reduce)");

/** The widths of the lanes as shares of the track; live.css says the same. */
const SHARES = [2 / 7, 2 / 7, 2 / 7, 1 / 7];

/** Lanes in pixels for a track of this width: [{x, width}], between the middles of the first and last token places. */
export function lanesFor(width) {
  let x = 0;
  return SHARES.map((share) => {
    const lane = { x: x + PAD, width: share * width - 2 * PAD };
    x += share * width;
    return lane;
  });
}

export class Row {
  constructor(traveller, lanes) {
    const { row } = traveller;
    this.lanes = lanes;
    this.x = null;
    this.y = 0;
    this.note = h("span", { class: "note" });
    this.letters = h("span", { class: "letters" }, initials(row.user.name));
    this.sign = h("span", { class: "sign" });
    this.token = h("span", { class: "token", "aria-hidden": "true" }, this.letters, this.sign);
    this.legs = STATIONS.map((_, lane) => new Leg(lane));
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
        STATIONS.map((_, lane) => h("i", { class: `stop lane-${lane}` })),
        this.below,
        this.legs.map((leg) => leg.element),
        this.token,
      ),
      h("div", { class: "end" }, this.took, this.result),
    );
    this.update(traveller);
  }

  /** The saga has changed. */
  update(traveller) {
    this.traveller = traveller;
    const { row, signals } = traveller;
    const state = stateOf(row);
    this.element.dataset.state = row.state;
    this.element.dataset.meaning = row.overdue && inMotion(row) ? "trouble" : state.meaning;
    const back = undone(row);
    const open = new Map(legs(row).map((leg) => [leg.lane, leg]));
    this.open = null;
    for (const leg of this.legs) {
      const data = open.get(leg.lane);
      leg.paint(data, row, signals, back, this.lanes[leg.lane]);
      if (data && data.answered == null) this.open = leg;
    }
    this.#sign(row, state);
    this.#line(row);
    this.tick(performance.now(), Date.now());
  }

  #sign(row, state) {
    const sign = row.state === "running" ? (row.overdue ? "late" : "") : state.icon;
    if (this.sign.dataset.icon === sign) return;
    this.sign.dataset.icon = sign;
    this.sign.replaceChildren(...(sign ? [icon(sign)] : []));
    show(this.letters, !sign);
  }

  /** The line below, on which a saga goes back from where it turned. */
  #line(row) {
    this.turn = turnOf(row);
    this.element.classList.toggle("turned", this.turn != null);
  }

  /** Words that change with time: a few times a second is enough. `now` is the server's time. */
  tick(_frame, now) {
    const { row, signals } = this.traveller;
    const again = inMotion(row) ? retrying(row, signals, now) : null;
    this.element.classList.toggle("retrying", again != null);
    text(this.note, again ? `${row.user.department} · retrying` : remark(row));
    this.open?.tick(now, again ?? (row.state === "parked" ? "parked" : null));
    const took = inMotion(row) ? Math.max(0, now - Date.parse(row.started_at)) / 1000 : row.duration;
    text(this.took, took == null ? "" : duration(took));
    text(this.result, result(row));
  }

  /** One frame of the journey. */
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
    if (this.turn != null) this.#draw(nextX);
  }

  #draw(x) {
    const turn = this.lanes[this.turn];
    const total = this.lanes.at(-1).x + this.lanes.at(-1).width + PAD;
    const right = turn.x + turn.width;
    this.below.style.clipPath = `inset(0 ${(total - right).toFixed(1)}px 0 ${Math.min(x, right).toFixed(1)}px)`;
  }
}

/** "2nd of 5, again in 3 s" while a failed attempt waits for the next, or is at it. */
export function retrying(row, signals, now) {
  const since = askedAt(row);
  const heard = [...signals, row.trouble].filter((signal) => signal && signal.kind !== "overdue");
  const last = heard.findLast((signal) => signal.step === row.step && Date.parse(signal.at) >= since - 1);
  if (!last?.next_at) return null;
  const nth = `${ordinal(last.attempt + 1)} try of ${last.attempts}`;
  const wait = (Date.parse(last.next_at) - now) / 1000;
  return wait > 0 ? `${nth} in ${countdown(wait)}` : nth;
}

function remark(row) {
  if (row.overdue && inMotion(row)) return `${row.user.department} · overdue`;
  if (row.state === "rolling-back" || row.state === "rolled-back") return row.reason ?? row.user.department;
  if (row.state === "parked") return `parked: ${row.reason ?? "it waits for an operator"}`;
  return row.user.department;
}

function result(row) {
  if (row.state === "completed") return row.overtook ? `overtook ${row.overtook}` : "done";
  if (row.state === "running") return isUndo(row.step) ? "going back" : "";
  return stateOf(row).label.toLowerCase();
}
