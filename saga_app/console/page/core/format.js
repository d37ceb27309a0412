// Times, durations and numbers as a person reads them.

import { now } from "./clock.js";

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const dayOfYearFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
/** Each knows the abbreviations of its own part of the world: EST in the one, CET in the other. */
const zoneFormats = ["en-US", "en-GB", "en-AU"].map((at) => new Intl.DateTimeFormat(at, { timeZoneName: "short" }));
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

/** The time until something happens: "3 s", "4 min 12 s", "1 h 5 min". */
export const countdown = (seconds) => (seconds < 99.5 ? `${Math.ceil(seconds)} s` : duration(seconds));

/** A rate: "12.4/s", "118/s". */
export const rate = (perSecond) =>
  perSecond == null ? "–" : `${perSecond < 99.5 ? perSecond.toFixed(1) : numberFormat.format(Math.round(perSecond))}/s`;

export const ms = (iso) => Date.parse(iso);

/** The zone that the browser shows times in, at that time: "CET", "EDT", or "UTC+5:30" where it has no abbreviation. */
export function zone(date) {
  const names = zoneFormats.map(
    (format) => format.formatToParts(date).find(({ type }) => type === "timeZoneName").value,
  );
  return names.find((name) => !/^(GMT|UTC)[+-]/.test(name)) ?? names[0].replace("GMT", "UTC");
}

/** "27 Nov", with the year when it is not this one; nothing for today. */
function day(date) {
  const today = new Date(now());
  if (date.toDateString() === today.toDateString()) return "";
  return (date.getFullYear() === today.getFullYear() ? dayFormat : dayOfYearFormat).format(date);
}

/** "12:03:22 CET", with the day when it is not today. */
export function clock(at) {
  const date = new Date(at);
  if (at == null || Number.isNaN(date.getTime())) return "–";
  return [day(date), clockFormat.format(date), zone(date)].filter(Boolean).join(" ");
}

/** "12:03:22.418 CET" */
export function clockMs(at) {
  const date = new Date(at);
  if (at == null || Number.isNaN(date.getTime())) return "–";
  const milliseconds = String(date.getMilliseconds()).padStart(3, "0");
  return [day(date), `${clockFormat.format(date)}.${milliseconds}`, zone(date)].filter(Boolean).join(" ");
}

/** The same time in UTC, as the command line and the logs have it: "2026-11-27 11:03:22.418Z". */
export function utc(at) {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? String(at) : date.toISOString().replace("T", " ");
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
