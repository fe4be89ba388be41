// Recovery against what is promised: each figure with its target, and whether it is met, by shape and by word.

import { h, sign, table, workerLink } from "./dom.js";
import { fine, human, micros, share } from "./words.js";

/** Cut, not rounded: what misses the target never reads as if it met it. */
const cut = (ratio, digits) => share(Math.floor(ratio * 10 ** (digits + 2)) / 10 ** (digits + 2), digits);
const spanOf = (span) => (span ? micros(span) : null);
const whole = (ratio) => `${+(ratio * 100).toFixed(2)} %`;

function promised(targets) {
  const limit = micros(targets.time_to_recover_max);
  return [
    {
      name: "Availability",
      value: (r) => r.availability,
      word: (n) => cut(n, 2),
      target: `at least ${whole(targets.availability_min)}`,
      met: (n) => n >= targets.availability_min,
    },
    {
      name: "Time to recover",
      value: (r) => spanOf(r.mttr),
      word: fine,
      target: `under ${human(limit)}`,
      met: (n) => n < limit,
    },
    {
      name: "Recoveries that helped",
      value: (r) => r.recovery_success,
      word: (n) => cut(n, 1),
      target: `over ${whole(targets.recovery_success_min)}`,
      met: (n) => n >= targets.recovery_success_min,
    },
    {
      name: "False alarms",
      value: (r) => r.false_alarms,
      word: (n) => share(n, 1),
      target: `under ${whole(targets.false_alarms_max)}`,
      met: (n) => n < targets.false_alarms_max,
    },
  ];
}

function verdict(figure, value) {
  if (value === null || value === undefined) return { kind: "unknown", word: "no data yet" };
  return figure.met(value) ? { kind: "healthy", word: "met" } : { kind: "warning", word: "missed" };
}

/** The four figures of the whole host. */
export function figures(targets) {
  return h(
    "dl",
    { class: "figure-row", key: "figures" },
    promised(targets).map((figure) => {
      const value = figure.value(targets.all);
      const { kind, word } = verdict(figure, value);
      return h(
        "div",
        { class: `figure ${kind}` },
        h("dt", null, figure.name),
        h("dd", { class: "value" }, value === null || value === undefined ? "–" : figure.word(value)),
        h("dd", { class: "against" }, h("span", { class: `health ${kind}` }, sign(kind), word), ` · ${figure.target}`),
      );
    }),
  );
}

/** The figures of each worker. */
export function figuresByWorker(targets) {
  const cell =
    (figure) =>
    ([, ratios]) => {
      const value = figure.value(ratios);
      const { kind, word } = verdict(figure, value);
      return [
        sign(kind),
        " ",
        value === null || value === undefined ? word : figure.word(value),
        kind === "warning" && h("span", { class: "dim" }, " missed"),
      ];
    };
  const columns = promised(targets).map((figure) => ({
    head: `${figure.name} (${figure.target})`,
    cell: cell(figure),
  }));
  return table(
    "Figures of each worker, over 30 days",
    [{ head: "Worker", name: true, cell: ([worker]) => workerLink(worker) }, ...columns],
    Object.entries(targets.workers),
    ([worker]) => worker,
  );
}
