// Times, durations and numbers as text.

import { now } from "./clock.js";

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const dayOfYearFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
/** Each locale has the zone abbreviations of its own region: EST in en-US, CET in en-GB. */
const zoneFormats = ["en-US", "en-GB", "en-AU"].map((at) => new Intl.DateTimeFormat(at, { timeZoneName: "short" }));
const numberFormat = new Intl.NumberFormat("en-US");

/** @param {number | null | undefined} value */
export const number = (value) => (value == null ? "–" : numberFormat.format(value));

/**
 * "12 ms", "3.9 s", "41.0 s", "2 min 5 s", "1 h 5 min"
 * @param {number | null | undefined} seconds
 */
export function duration(seconds) {
  if (seconds == null || Number.isNaN(seconds)) return "–";
  const s = Math.max(0, seconds);
  if (s < 0.0995) return `${Math.round(s * 1000)} ms`;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 99.5) return `${s.toFixed(s < 60 ? 1 : 0)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

/**
 * Time remaining: "3 s", "4 min 12 s", "1 h 5 min"
 * @param {number} seconds
 */
export const countdown = (seconds) => (seconds < 99.5 ? `${Math.ceil(seconds)} s` : duration(seconds));

/**
 * "12.4/s", "118/s"
 * @param {number | null | undefined} perSecond
 */
export const rate = (perSecond) =>
  perSecond == null ? "–" : `${perSecond < 99.5 ? perSecond.toFixed(1) : numberFormat.format(Math.round(perSecond))}/s`;

/**
 * The browser's time zone at that date: "CET", "EDT", or "UTC+5:30" where it has no abbreviation.
 * @param {Date} date
 */
export function zone(date) {
  const names = zoneFormats.map(
    (format) => format.formatToParts(date).find(({ type }) => type === "timeZoneName")?.value ?? "",
  );
  return names.find((name) => !/^(GMT|UTC)[+-]/.test(name)) ?? names[0].replace("GMT", "UTC");
}

/**
 * "27 Nov", with the year unless it is the current one; "" for today.
 * @param {Date} date
 */
function day(date) {
  const today = new Date(now());
  if (date.toDateString() === today.toDateString()) return "";
  return (date.getFullYear() === today.getFullYear() ? dayFormat : dayOfYearFormat).format(date);
}

/**
 * null if `at` is missing or not a valid time.
 * @param {string | number | null | undefined} at
 */
function validDate(at) {
  const date = at == null ? null : new Date(at);
  return date && !Number.isNaN(date.getTime()) ? date : null;
}

/**
 * "12:03:22 CET", with the day unless it is today; "–" without a valid time.
 * @param {string | number | null | undefined} at
 */
export function clock(at) {
  const date = validDate(at);
  return date ? [day(date), clockFormat.format(date), zone(date)].filter(Boolean).join(" ") : "–";
}

/**
 * Like `clock()`, with milliseconds: "12:03:22.418 CET"
 * @param {string | number | null | undefined} at
 */
export function clockMs(at) {
  const date = validDate(at);
  if (!date) return "–";
  const milliseconds = String(date.getMilliseconds()).padStart(3, "0");
  return [day(date), `${clockFormat.format(date)}.${milliseconds}`, zone(date)].filter(Boolean).join(" ");
}

/**
 * In UTC, in the format of the command line and the logs: "2026-11-27 11:03:22.418Z"
 * @param {string} at
 */
export function utc(at) {
  return validDate(at)?.toISOString().replace("T", " ") ?? String(at);
}

/** @param {number} n @param {string} one @param {string} [many] */
export const plural = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

/**
 * The initials of the first and last word of a name, shown on the saga's token.
 * @param {string} name
 */
export function initials(name) {
  const words = name.trim().split(/\s+/);
  return [words[0], words.length > 1 ? words.at(-1) : ""].map(firstCharacter).join("").toLocaleUpperCase();
}

const segmenter = "Segmenter" in Intl ? new Intl.Segmenter(undefined, { granularity: "grapheme" }) : null;

/** @param {string | undefined} word */
function firstCharacter(word) {
  if (!word) return "";
  return segmenter ? [...segmenter.segment(word)][0].segment : [...word][0];
}

/**
 * The text with its first letter in upper case; "" without one.
 * @param {string | null | undefined} value
 */
export function sentence(value) {
  return value ? value[0].toLocaleUpperCase() + value.slice(1) : "";
}
