// The lanes of the Live view: one for each step of the plan, the last half as wide as the others.

/** Half the width of a token, in pixels: the minimum distance of its centre from the edges of a lane. */
export const PAD = 13;

/** Widths of a lane, in pixels, below which the labels of stations and rows are shortened, or only icons are shown. */
const TIGHT = 100;
const ICONS = 66;

/**
 * The part of a lane in which the centre of a token moves, in pixels.
 * @typedef {{x: number, width: number}} Lane
 */

/**
 * The share of the track that each of `count` lanes has.
 * @param {number} count
 */
export const shares = (count) =>
  Array.from({ length: count }, (_, lane) => (lane < count - 1 ? 2 : 1) / (2 * count - 1));

/**
 * The lanes of a track of this width in pixels.
 * @param {number} width
 * @param {number} count
 * @returns {Lane[]}
 */
export function lanesFor(width, count) {
  let start = 0;
  return shares(count).map((share) => {
    const x = Math.min(start + PAD, Math.max(PAD, width - PAD));
    start += share * width;
    return { x, width: Math.max(0, start - PAD - x) };
  });
}

/**
 * How much text fits into the lanes of a track of this width in pixels.
 * @param {number} width
 * @param {number} count
 * @returns {"roomy" | "tight" | "icons"}
 */
export function density(width, count) {
  const lane = width * shares(count)[0];
  return lane < ICONS ? "icons" : lane < TIGHT ? "tight" : "roomy";
}

/**
 * Position an element of a row's track over a lane.
 * @template {HTMLElement} T
 * @param {T} element
 * @param {number} lane
 * @param {number} count
 */
export function overLane(element, lane, count) {
  const share = shares(count);
  const before = share.slice(0, lane).reduce((sum, each) => sum + each, 0);
  element.style.setProperty("--lane-left", `${(100 * before).toFixed(4)}%`);
  element.style.setProperty("--lane-width", `${(100 * share[lane]).toFixed(4)}%`);
  return element;
}
