// Spans, moments, amounts and counts, in the words that the terminal uses. Pure: it knows no clock and no document.
// Spans are microseconds, as the API has them.

/** Health, in the order in which counts are told. */
export const HEALTHS = ["healthy", "warning", "critical", "dead", "stopped", "unknown"];
/** Health, in the order in which it is listed: what needs attention first. */
export const SICK_FIRST = ["dead", "critical", "warning", "unknown", "stopped", "healthy"];

const SECOND = 1e6;

export const isSick = (health) => health === "critical" || health === "dead";
export const serves = (health) => health === "healthy" || health === "warning";

/** `1 worker`, `3 workers`. */
export const count = (n, one) => (n === 1 ? `1 ${one}` : `${n} ${one}s`);

/** `once`, `3 times`. */
export const times = (n) => (n === 1 ? "once" : `${n} times`);

/** The API writes a span as seconds and nanoseconds. */
export const micros = (span) => span.secs * SECOND + span.nanos / 1000;

const pair = (large, largeUnit, small, smallUnit) =>
  small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;

/** `840 ms`, `4.2 s`, `3 min 10 s`, `2 h 5 min`, `3 d 4 h`. */
export function human(us) {
  const seconds = Math.floor(us / SECOND);
  if (us < 1000) return `${Math.floor(us)} us`;
  if (seconds < 1) return `${Math.floor(us / 1000)} ms`;
  if (seconds < 10) return `${(us / SECOND).toFixed(1)} s`;
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return pair(Math.floor(seconds / 60), "min", seconds % 60, "s");
  if (seconds < 86400) return pair(Math.floor(seconds / 3600), "h", Math.floor((seconds % 3600) / 60), "min");
  return pair(Math.floor(seconds / 86400), "d", Math.floor((seconds % 86400) / 3600), "h");
}

/** As short as a detection delay keeps a digit after the point. */
export const fine = (us) => (us >= 1000 && us < 10000 ? `${(us / 1000).toFixed(1)} ms` : human(us));

/** Whole seconds, as read off a clock. */
export function coarse(us) {
  const seconds = Math.floor((Math.max(us, 0) + SECOND / 2) / SECOND);
  return seconds < 60 ? `${seconds} s` : human(seconds * SECOND);
}

/** From one moment to a later one; zero when it is not later. */
export const between = (from, to) => coarse(to - from);

const padded = (n, width = 2) => String(n).padStart(width, "0");
const dayOf = (d) => `${d.getFullYear()}-${padded(d.getMonth() + 1)}-${padded(d.getDate())}`;
const hourOf = (d) => `${padded(d.getHours())}:${padded(d.getMinutes())}`;
const WEEKDAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/** `18:03:09` on the day of `now`, `Mon 18:03` within six days of it, else `2026-11-23 18:03`. */
export function moment(wall, now) {
  const at = new Date(wall / 1000);
  const today = new Date(now / 1000);
  if (dayOf(at) === dayOf(today)) return `${hourOf(at)}:${padded(at.getSeconds())}`;
  const isNear = Math.abs(wall - now) <= 6 * 86400 * SECOND;
  return isNear ? `${WEEKDAYS[at.getDay()]} ${hourOf(at)}` : `${dayOf(at)} ${hourOf(at)}`;
}

/** `18:03:09.250`. */
export function clock(wall) {
  const at = new Date(wall / 1000);
  return `${hourOf(at)}:${padded(at.getSeconds())}.${padded(at.getMilliseconds(), 3)}`;
}

/** `18:03`, with seconds where `span` is short enough for the same minute to come twice. */
export function hour(wall, span = Infinity) {
  const at = new Date(wall / 1000);
  return span < 240 * SECOND ? `${hourOf(at)}:${padded(at.getSeconds())}` : hourOf(at);
}

/** The whole moment with its zone, for who wants to be sure. */
export function absolute(wall) {
  const at = new Date(wall / 1000);
  const zone = -at.getTimezoneOffset();
  const sign = zone < 0 ? "-" : "+";
  const offset = `${sign}${padded(Math.floor(Math.abs(zone) / 60))}:${padded(Math.abs(zone) % 60)}`;
  return `${dayOf(at)} ${clock(wall)} (UTC${offset})`;
}

export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let place = 0;
  while (n >= 1024 && place < 3) {
    n /= 1024;
    place += 1;
  }
  return `${n.toFixed(place === 3 && n < 10 ? 1 : 0)} ${units[place]}`;
}

/** Percent of one CPU; from ten CPUs on their number is easier to read. */
export function percent(cpus) {
  if (cpus >= 9.995) return `${cpus.toFixed(0)} CPUs`;
  return `${(cpus * 100).toFixed(cpus < 0.0995 ? 1 : 0)} %`;
}

/** `99.95 %`. */
export const share = (ratio, digits = 1) => `${(ratio * 100).toFixed(digits)} %`;

/** `queue`, or `vhost/queue`. */
export const queueName = (queue) => (queue.vhost ? `${queue.vhost}/${queue.name}` : queue.name);

/** Text from outside without what would turn the direction of writing around or is not shown at all. */
export const clean = (text) =>
  String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");

/** With those questions that have an answer. */
export function pathWith(path, query) {
  const given = Object.entries(query).filter(([, value]) => value);
  return given.length > 0 ? `${path}?${new URLSearchParams(given)}` : path;
}
