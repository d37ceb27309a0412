// Several hundred users in motion: a dot each on one canvas, on the same lanes and the same scale of time as the rows.

import { h, text } from "../core/dom.js";
import { inMotion } from "../core/plan.js";
import { place } from "./journey.js";
import { usualTime } from "./pace.js";

const HEIGHT = 168;
/** Down to here the dots go forward; those that go back move along the bottom. */
const FIELD = 132;
const RADIUS = 4;
const EDGE = 14;
const GLIDE_MS = 90;
const SHAPES = { working: "on the way", trouble: "in trouble", undone: "going back" };

const still = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

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
    this.dots = new Map();
    this.lanes = [];
    this.colours = null;
    dark.addEventListener("change", () => (this.colours = null));
  }

  say(words) {
    text(this.says, words);
  }

  set(travellers, lanes) {
    this.lanes = lanes;
    const before = this.dots;
    this.dots = new Map(
      travellers.map((traveller) => [traveller.row.id, this.#dot(before.get(traveller.row.id), traveller)]),
    );
  }

  #dot(dot, traveller) {
    const next = dot ?? { x: null, drop: 0, y: fraction(traveller.row.id) };
    next.row = traveller.row;
    next.retrying = traveller.signals.at(-1)?.step === traveller.row.step;
    return next;
  }

  frame(now, elapsed) {
    if (this.dots.size === 0) return;
    const context = this.#prepare();
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
    for (const [meaning, path] of Object.entries(paths)) {
      context.fillStyle = this.colours[meaning];
      context.fill(path);
    }
  }

  #prepare() {
    const ratio = Math.min(2, devicePixelRatio || 1);
    const width = this.canvas.clientWidth;
    if (this.canvas.width !== Math.round(width * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = HEIGHT * ratio;
    }
    const style = this.colours ? null : getComputedStyle(this.canvas);
    if (style) {
      const colour = (name) => style.getPropertyValue(`--${name}`).trim();
      this.colours = {
        working: colour("working"),
        done: colour("done"),
        undone: colour("undone"),
        trouble: colour("trouble"),
        line: colour("line"),
      };
    }
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, HEIGHT);
    context.fillStyle = this.colours.line;
    for (const lane of this.lanes) context.fillRect(lane.x - 0.5, 4, 1, HEIGHT - 8);
    return context;
  }
}

/** Trouble has another shape than a disc, as everywhere: a diamond; what goes back is a square. */
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

/** A number between 0 and 1 that is always the same for an id: its height in the swarm. */
function fraction(id) {
  let hash = 2166136261;
  for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 16777619);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b); // ids that follow each other shall not stand side by side
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}
