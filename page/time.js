// The clock of the host as far as the page knows it, and moments on the page that grow older by themselves.

import { h } from "./dom.js";
import { absolute, between, coarse, moment } from "./words.js";

/** Host's clock less ours, microseconds. */
let ahead = 0;
/** Wall time at which the host's monotonic clock began. */
let boot = 0;

/** Now, by the clock of the host. */
export const now = () => Date.now() * 1000 + ahead;

/** The host said what time it is. */
export function hear(at) {
  ahead = at.wall - Date.now() * 1000;
  boot = at.wall - at.mono;
}

/** Wall time of a monotonic instant of the present boot. */
export const wallOf = (mono) => boot + mono;

/** How a moment is worded, by the name that its element bears. */
const WORDINGS = {
  at: (wall) => moment(wall, now()),
  ago: (wall) => `${between(wall, now())} ago`,
  since: (wall) => between(wall, now()),
  left: (wall) => coarse(wall - now()),
  point: (wall) =>
    `${moment(wall, now())} (${wall > now() ? `in ${between(now(), wall)}` : `${between(wall, now())} ago`})`,
};

/** A moment. `at`: the time of day; `ago`, `since`, `left`: spans that are kept true; `point`: both. */
export function when(wall, wording = "at") {
  const iso = new Date(wall / 1000).toISOString();
  const properties = { datetime: iso, title: absolute(wall), "data-wall": wall, "data-wording": wording };
  return h("time", properties, WORDINGS[wording](wall));
}

/** Words every moment on the page anew. */
function tick() {
  if (document.hidden) return;
  for (const element of document.querySelectorAll("time[data-wording]")) {
    const { wall, wording } = element.dataset;
    const text = WORDINGS[wording ?? "at"](Number(wall));
    if (element.textContent !== text) element.textContent = text;
  }
}

export const startClock = () => setInterval(tick, 1000);
