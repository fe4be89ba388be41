// What was wrong, newest first; and how an incident is told in one line, here and elsewhere.

import { address, button, h, heading, incidentLink, paging, patch, sign, table, unitLink } from "./dom.js";
import { glance, listen, present } from "./present.js";
import { Reading, shown } from "./reading.js";
import { when } from "./time.js";
import { between, fine, isSick, micros, pathWith } from "./words.js";

const PAGE = 50;

/** The order of weight: where several conditions hold, the last one's plan wins. */
const WEIGHT = [
  "unusual",
  "predicted",
  "external",
  "cpu_high",
  "starved",
  "backlog_high",
  "error_rate_high",
  "memory_high",
  "consumer_stalled",
  "no_consumer",
  "probe_failed",
  "hung",
  "start_stuck",
  "oom_killed",
  "dead",
  "crash_loop",
];

/** Conditions with their evidence, weightiest first. */
export const conditionsOf = (incident) =>
  Object.entries(incident.conditions).sort(([a], [b]) => WEIGHT.indexOf(b) - WEIGHT.indexOf(a));

/** The weightiest condition, or what an operator asked for. */
export function what(incident) {
  const { origin } = incident;
  const [leading] = conditionsOf(incident);
  if (leading) return leading[0];
  if (origin.by === "condition") return origin.condition;
  return origin.by === "surplus" ? "not needed" : `asked: ${origin.action}`;
}

export function toneOf({ resolution, worst }) {
  if (resolution === null) return isSick(worst) ? worst : "act";
  return { escalated: "warning", operator: "plain", false_alarm: "plain" }[resolution] ?? "healthy";
}

export function doing(incident) {
  const attempt = incident.attempts.at(-1);
  if (attempt && attempt.stage !== "ended") return `${attempt.action} is ${attempt.stage}`;
  if (incident.waiting) return `${incident.waiting.text} (gate ${incident.waiting.gate})`;
  return incident.escalations > 0 ? "escalated" : null;
}

function state(incident) {
  if (incident.resolution) return incident.resolution;
  const now = doing(incident);
  return now ? `open: ${now}` : "open";
}

function lasted(incident) {
  if (incident.time_to_recover) return fine(micros(incident.time_to_recover));
  return incident.closed_wall
    ? between(incident.failed_wall, incident.closed_wall)
    : when(incident.failed_wall, "since");
}

export const incidentTable = (incidents, caption) =>
  incidents.length === 0
    ? h("p", { class: "dim" }, "No incident.")
    : table(
        caption,
        [
          { head: "", cell: (one) => sign(toneOf(one)) },
          { head: "ID", name: true, number: true, cell: (one) => incidentLink(one.id) },
          { head: "When", cell: (one) => when(one.failed_wall) },
          { head: "Unit", cell: (one) => unitLink(one.worker, one.unit) },
          { head: "What", cell: what },
          { head: "Tries", number: true, cell: (one) => one.attempts.length },
          { head: "Lasted", number: true, cell: lasted },
          { head: "Now", wide: true, cell: state },
        ],
        incidents,
        (one) => one.id,
      );

export function show(main, _place, query, life) {
  let chosen = query;
  const concerns = (fact) => fact.incident !== undefined && !chosen.before;
  const path = () =>
    pathWith("/incidents", {
      worker: chosen.worker,
      unit: chosen.unit,
      open: chosen.open,
      before: chosen.before,
      limit: PAGE,
    });
  const found = new Reading(path, life, draw, { on: concerns });
  let names = "";
  listen("read", () => names !== workerNames().join() && draw(), life);
  draw();
  return (next) => {
    chosen = next;
    found.restart();
    draw();
  };

  function draw() {
    names = workerNames().join();
    patch(
      main,
      heading("Incidents"),
      filters(chosen),
      h(
        "section",
        { class: "box", key: "list", "aria-label": "Incidents" },
        shown(found.found, (list) => [
          incidentTable(list, "Incidents, newest first"),
          paging("incidents", chosen, list.length === PAGE, list.at(-1)?.id),
        ]),
      ),
    );
  }
}

const workerNames = () => (present.overview?.workers ?? []).map((one) => one.worker).sort();

function filters(chosen) {
  const go = (next) => {
    const { before, ...kept } = { ...chosen, ...next };
    location.hash = address(["incidents"], kept);
  };
  const pick = (name) => (event) => go({ [name]: event.target.value });
  const option = (value, text, now) => h("option", { value, selected: (now ?? "") === value }, text);
  const names = chosen.worker && !glance(chosen.worker) ? [chosen.worker, ...workerNames()] : workerNames();
  return h(
    "div",
    { class: "filters", key: "filters" },
    h(
      "label",
      null,
      "Worker",
      h(
        "select",
        { onchange: pick("worker") },
        option("", "all", chosen.worker),
        names.map((name) => option(name, name, chosen.worker)),
      ),
    ),
    h(
      "label",
      null,
      "State",
      h(
        "select",
        { onchange: pick("open") },
        option("", "all", chosen.open),
        option("true", "open", chosen.open),
        option("false", "closed", chosen.open),
      ),
    ),
    chosen.unit &&
      h(
        "span",
        null,
        "only ",
        h("span", { class: "unit" }, chosen.unit),
        " ",
        button("all units", () => go({ unit: "" }), { class: "small" }),
      ),
  );
}
