// Times, durations and numbers as a person reads them.

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const numberFormat = new Intl.NumberFormat("en-US");

export const number = (value) => (value == null ? "–" : numberFormat.format(value));

/** Seconds: "12 ms", "3.9 s", "41 s", "2 min 5 s". */
export function duration(seconds) {
  if (seconds == null || Number.isNaN(seconds)) return "–";
  const s = Math.max(0, seconds);
  if (s < 0.0995) return `${Math.round(s * 1000)} ms`;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 99.5) return `${s.toFixed(s < 60 ? 1 : 0)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

/** A rate: "12.4/s", "118/s". */
export const rate = (perSecond) =>
  perSecond == null ? "–" : `${perSecond < 99.5 ? perSecond.toFixed(1) : numberFormat.format(Math.round(perSecond))}/s`;

export const ms = (iso) => Date.parse(iso);

/** "12:03:22", with the day when it is not today's. */
export function clock(at) {
  if (at == null) return "–";
  const date = new Date(at);
  const time = clockFormat.format(date);
  return date.toDateString() === new Date().toDateString() ? time : `${dayFormat.format(date)} ${time}`;
}

/** "12:03:22.418" */
export function clockMs(at) {
  const date = new Date(at);
  return `${clock(at)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

export const plural = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

/** "1st", "2nd", "3rd", "4th" */
export function ordinal(n) {
  const last = n % 10;
  const suffix = Math.floor((n % 100) / 10) === 1 ? "th" : { 1: "st", 2: "nd", 3: "rd" }[last] || "th";
  return `${n}${suffix}`;
}

/** Two letters that stand for a person on the token. */
export function initials(name) {
  const words = name.trim().split(/\s+/);
  return [words[0], words.length > 1 ? words.at(-1) : ""].map(firstCharacter).join("").toLocaleUpperCase();
}

const segmenter = "Segmenter" in Intl ? new Intl.Segmenter(undefined, { granularity: "grapheme" }) : null;

function firstCharacter(word) {
  if (!word) return "";
  return segmenter ? segmenter.segment(word)[Symbol.iterator]().next().value.segment : [...word][0];
}

export function sentence(value) {
  return value ? value[0].toLocaleUpperCase() + value.slice(1) : "";
}
