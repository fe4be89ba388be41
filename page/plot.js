// A curve of the last hour as a small plot: threshold and limit drawn in and named, gaps left as gaps, and the same in
// words below it.

import { drawn, h } from "./dom.js";
import { count, hour, moment } from "./words.js";
import { now } from "./time.js";

/** The plot's own units; the drawing is stretched to its frame. */
const WIDTH = 1000;
const HEIGHT = 100;
/** Two readings further apart than so many usual steps have a gap between them. */
const GAP_STEPS = 3;

export function plot(measure, curve) {
  const known = curve.points.filter(([, value]) => value !== null);
  const words = inWords(measure, curve, known);
  const caption = h("figcaption", null, h("strong", null, measure.name), h("span", { class: "dim" }, words));
  if (known.length === 0) return h("figure", { class: "plot", key: measure.name }, caption);
  const scale = scaleOf(curve, known);
  return h(
    "figure",
    { class: "plot", key: measure.name },
    caption,
    frame(measure, curve, scale, `${measure.name}: ${words}`),
    axis(curve),
  );
}

/** `now 12 %, min 3 %, max 94 %, threshold 80 %, 1 gap` */
function inWords({ word }, curve, known) {
  if (known.length === 0) return "no reading";
  const values = known.map(([, value]) => value);
  const last = curve.points.at(-1)?.[1];
  const gaps = runs(curve.points).length - 1;
  return [
    last === null || last === undefined ? "now no reading" : `now ${word(last)}`,
    `min ${word(Math.min(...values))}`,
    `max ${word(Math.max(...values))}`,
    curve.threshold !== null && `threshold ${word(curve.threshold)}`,
    curve.limit !== null && `limit ${word(curve.limit)}`,
    gaps > 0 && count(gaps, "gap"),
  ]
    .filter(Boolean)
    .join(", ");
}

function scaleOf(curve, known) {
  const tops = [curve.threshold, curve.limit, ...known.map(([, value]) => value)].filter((n) => n !== null);
  const top = Math.max(...tops) * 1.12 || 1;
  const from = curve.points[0][0];
  const span = Math.max(1, (curve.points.at(-1)?.[0] ?? from) - from);
  return {
    from,
    span,
    top,
    x: (wall) => ((wall - from) / span) * WIDTH,
    y: (value) => HEIGHT - (value / top) * HEIGHT,
  };
}

/** The readings without a gap in between. */
function runs(points) {
  const steps = points
    .slice(1)
    .map(([wall], place) => wall - points[place][0])
    .sort((a, b) => a - b);
  const far = (steps[Math.floor(steps.length / 2)] ?? 0) * GAP_STEPS;
  const found = [];
  let last = -Infinity;
  for (const [wall, value] of points) {
    if (value === null) last = -Infinity;
    else {
      if (wall - last > far) found.push([]);
      found[found.length - 1].push([wall, value]);
      last = wall;
    }
  }
  return found;
}

function frame(measure, curve, scale, words) {
  const path = (run) => {
    const places = run.map(([wall, value]) => `${scale.x(wall).toFixed(1)} ${scale.y(value).toFixed(2)}`);
    // A reading alone is a dot.
    return drawn("path", { class: "curve", d: `M${places.join("L")}${places.length === 1 ? "h.1" : ""}` });
  };
  const bounds = [
    ["threshold", curve.threshold],
    ["limit", curve.limit],
  ].filter(([, value]) => value !== null);
  const lines = bounds.map(([kind, value]) =>
    drawn("line", { class: kind, x1: 0, x2: WIDTH, y1: scale.y(value), y2: scale.y(value) }),
  );
  const cursor = drawn("line", { class: "cursor", y1: 0, y2: HEIGHT, x1: -10, x2: -10 });
  const drawing = drawn(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": words },
    lines,
    runs(curve.points).map(path),
    cursor,
  );
  const readout = h("div", { class: "readout", "aria-hidden": "true", hidden: true });
  const marks = bounds.map(([kind, value]) => mark(kind, `${kind} ${measure.word(value)}`, value / scale.top));
  const leave = (event) => read(event.currentTarget, null);
  return h("div", { class: "frame", onpointermove: point, onpointerleave: leave }, drawing, marks, readout);

  function point({ currentTarget, clientX }) {
    const { left, width } = currentTarget.getBoundingClientRect();
    read(currentTarget, nearest(curve.points, scale.from + ((clientX - left) / width) * scale.span));
  }

  /** Reads the curve at a point, or nowhere. */
  function read(box, found) {
    const shown = box.querySelector(".readout");
    shown.hidden = !found;
    const x = found ? scale.x(found[0]) : -10;
    for (const end of ["x1", "x2"]) box.querySelector(".cursor").setAttribute(end, String(x));
    if (!found) return;
    shown.textContent = `${moment(found[0], now())}  ${found[1] === null ? "no reading" : measure.word(found[1])}`;
  }
}

function mark(kind, text, part) {
  const element = h("span", { class: `mark ${kind} ${part > 0.75 ? "low" : "high"}`, "aria-hidden": "true" }, text);
  element.style.top = `${((1 - part) * 100).toFixed(2)}%`;
  return element;
}

function nearest(points, wall) {
  return points.reduce(
    (best, point) => (Math.abs(point[0] - wall) < Math.abs(best[0] - wall) ? point : best),
    points[0],
  );
}

function axis({ points }) {
  const [from, to] = [points[0][0], points.at(-1)?.[0] ?? points[0][0]];
  return h(
    "div",
    { class: "axis", "aria-hidden": "true" },
    [from, (from + to) / 2, to].map((wall) => h("span", null, hour(wall, to - from))),
  );
}
