// Draws hundreds of users on one canvas: one dot per user, with the lanes and the time scale of the rows.

import { h, text } from "../core/dom.js";
import { inMotion } from "../core/plan.js";
import { place } from "./journey.js";
import { usualTime } from "./pace.js";

const HEIGHT = 168;
/** Dots of forward steps stay above this height (pixels); dots of rollbacks move along the bottom. */
const FIELD = 132;
const RADIUS = 4;
const EDGE = 14;
const GLIDE_MS = 90;
const SHAPES = { working: "in progress", trouble: "in trouble", undone: "rolling back" };
/** @type {Meaning[]} In painting order: trouble on top. */
const MEANINGS = ["working", "done", "undone", "trouble"];

const still = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

/** @import { Lane } from "./lanes.js" */

/**
 * `x`: null before the first frame; `drop`: 0 in the forward field to 1 on the bottom; `y`: 0 to 1 in the field.
 * @typedef {{row: Saga, retrying: boolean, x: number | null, drop: number, y: number}} Dot
 * @typedef {Record<Meaning, Path2D>} Paths
 * @typedef {Record<Meaning | "line", string>} Colours
 */

export class Swarm {
  constructor() {
    this.canvas = h("canvas", { class: "swarm-canvas", "aria-hidden": "true" });
    this.says = h("p", { role: "status" });
    const key = h(
      "ul",
      { class: "key" },
      Object.entries(SHAPES).map(([shape, words]) => h("li", {}, h("i", { class: `dot ${shape}` }), words)),
    );
    this.element = h(
      "div",
      { class: "swarm", hidden: true },
      h("div", { class: "who" }, this.says, key),
      h("div", { class: "track" }, this.canvas),
    );
    /** @type {Map<string, Dot>} */
    this.dots = new Map();
    /** @type {Lane[]} */
    this.lanes = [];
    /** @type {Colours | null} */
    this.colours = null;
    dark.addEventListener("change", () => {
      this.colours = null;
    });
  }

  /** @param {string} words */
  say(words) {
    text(this.says, words);
  }

  /** @param {Traveller[]} travellers @param {Lane[]} lanes */
  set(travellers, lanes) {
    this.lanes = lanes;
    const before = this.dots;
    this.dots = new Map(
      travellers.map((traveller) => [traveller.row.id, this.#dot(before.get(traveller.row.id), traveller)]),
    );
  }

  /** @param {Dot | undefined} dot @param {Traveller} traveller @returns {Dot} */
  #dot(dot, { row, signals }) {
    const retrying = signals.at(-1)?.step === row.step;
    return dot ? Object.assign(dot, { row, retrying }) : { row, retrying, x: null, drop: 0, y: fraction(row.id) };
  }

  /**
   * Draw one animation frame.
   * @param {number} now the server's time (ms)
   * @param {number} elapsed ms since the last frame
   */
  frame(now, elapsed) {
    if (this.dots.size === 0) return;
    const colours = this.colours ?? coloursOf(this.canvas);
    this.colours = colours;
    const context = this.#prepare(colours);
    if (!context) return;
    const usual = usualTime();
    const share = still.matches ? 1 : 1 - Math.exp(-elapsed / GLIDE_MS);
    const paths = { working: new Path2D(), done: new Path2D(), undone: new Path2D(), trouble: new Path2D() };
    for (const dot of this.dots.values()) {
      const at = place(dot.row, now, usual);
      const x = this.lanes[at.lane].x + at.along * this.lanes[at.lane].width;
      dot.x = dot.x == null ? x : dot.x + (x - dot.x) * share;
      dot.drop += ((at.back ? 1 : 0) - dot.drop) * share;
      const above = EDGE + dot.y * (FIELD - EDGE);
      draw(paths, dot, dot.x, above + dot.drop * (HEIGHT - EDGE - above));
    }
    for (const meaning of MEANINGS) {
      context.fillStyle = colours[meaning];
      context.fill(paths[meaning]);
    }
  }

  /**
   * Size and clear the canvas, and draw the lines between the lanes.
   * @param {Colours} colours
   */
  #prepare(colours) {
    const ratio = Math.min(2, devicePixelRatio || 1);
    const width = this.canvas.clientWidth;
    if (this.canvas.width !== Math.round(width * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = HEIGHT * ratio;
    }
    const context = this.canvas.getContext("2d");
    if (!context) return null;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, HEIGHT);
    context.fillStyle = colours.line;
    for (const lane of this.lanes) context.fillRect(lane.x - 0.5, 4, 1, HEIGHT - 8);
    return context;
  }
}

/**
 * The current theme's colours.
 * @param {HTMLCanvasElement} canvas
 * @returns {Colours}
 */
function coloursOf(canvas) {
  const style = getComputedStyle(canvas);
  const colour = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
  return {
    working: colour("working"),
    done: colour("done"),
    undone: colour("undone"),
    trouble: colour("trouble"),
    line: colour("line"),
  };
}

/**
 * Add a dot to its path. The shape tells the state without colour: diamond for trouble, square for rollback, else disc.
 * @param {Paths} paths
 * @param {Dot} dot
 * @param {number} x
 * @param {number} y
 */
function draw(paths, dot, x, y) {
  const { state, overdue } = dot.row;
  if (state === "parked" || state === "rollback-incomplete" || overdue || (dot.retrying && inMotion(dot.row))) {
    paths.trouble.moveTo(x, y - RADIUS - 2);
    paths.trouble.lineTo(x + RADIUS + 2, y);
    paths.trouble.lineTo(x, y + RADIUS + 2);
    paths.trouble.lineTo(x - RADIUS - 2, y);
    paths.trouble.closePath();
  } else if (state === "rolling-back" || state === "rolled-back") {
    paths.undone.rect(x - RADIUS, y - RADIUS, 2 * RADIUS, 2 * RADIUS);
  } else {
    const path = state === "completed" ? paths.done : paths.working;
    path.moveTo(x + RADIUS, y);
    path.arc(x, y, RADIUS, 0, 2 * Math.PI);
  }
}

/**
 * A hash of the id as a number from 0 to 1: the dot's height, the same in every frame.
 * @param {string} id
 */
function fraction(id) {
  let hash = 2166136261;
  for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 16777619);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b); // spreads consecutive ids
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}
