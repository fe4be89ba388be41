// What was done, newest first: by unitmedic, and how well it went, against the targets and per action; and by people,
// with who and from where.

import { box, h, heading, incidentLink, paging, patch, sign, table, unitLink, workerLink } from "./dom.js";
import { Reading, shown } from "./reading.js";
import { figures, figuresByWorker } from "./targets.js";
import { when } from "./time.js";
import { count, fine, micros, pathWith, share } from "./words.js";

const PAGE = 50;
/** Share of recoveries that is to succeed. */
const SUCCESS_MIN = 0.9;
const TONES = { succeeded: "healthy", failed: "dead" };

export function show(main, _place, query, life) {
  let chosen = query;
  const ended = (fact) => fact.what.event === "attempt_ended";
  const targets = new Reading(() => "/targets", life, draw, { every: 60_000, on: ended });
  const summary = new Reading(() => "/history/summary", life, draw, { on: ended });
  const recoveries = new Reading(
    () => pathWith("/history", { worker: chosen.worker, before: chosen.before, limit: PAGE }),
    life,
    draw,
    { on: ended },
  );
  draw();
  return (next) => {
    chosen = next;
    recoveries.restart();
    draw();
  };

  function draw() {
    patch(
      main,
      heading("History"),
      box(
        "targets",
        "Against the targets, over 30 days",
        shown(targets.found, (all) => [
          figures(all),
          h("details", { class: "more", key: "each" }, h("summary", null, "Each worker"), figuresByWorker(all)),
        ]),
      ),
      box("summary", "Recoveries, by action", shown(summary.found, totals)),
      box(
        "recoveries",
        "Recoveries",
        shown(recoveries.found, (list) => [
          recoveryTable(list),
          paging("history", chosen, list.length === PAGE, list.at(-1)?.incident),
        ]),
      ),
    );
  }
}

/** Overtaken and doubtful ones say nothing about an action. */
function success({ succeeded, failed }) {
  const judged = succeeded + failed;
  return judged > 0 ? succeeded / judged : null;
}

function totals(summary) {
  const rows = [...Object.entries(summary.by_action), ["all", summary.all]];
  const number = (head, name) => ({ head, number: true, cell: ([, one]) => one[name] });
  return [
    summary.all.total === 0
      ? h("p", { class: "dim" }, "None.")
      : table(
          "Recoveries by action",
          [
            { head: "Action", name: true, cell: ([action]) => h("span", { class: "action" }, action) },
            number("Total", "total"),
            number("Succeeded", "succeeded"),
            number("Failed", "failed"),
            number("Overtaken", "superseded"),
            number("In doubt", "in_doubt"),
            {
              head: "Mean time",
              number: true,
              cell: ([, one]) => (one.mean_time_to_recover ? fine(micros(one.mean_time_to_recover)) : "–"),
            },
            { head: "Success", number: true, cell: ([, one]) => successWord(success(one)) },
          ],
          rows,
          ([action]) => action,
        ),
    h(
      "p",
      { class: "dim more", key: "alarms" },
      `${alarms(summary)}; overtaken and doubtful ones do not count for success`,
    ),
  ];
}

const successWord = (ratio) =>
  ratio === null ? "–" : [sign(ratio >= SUCCESS_MIN ? "healthy" : "warning"), ` ${share(ratio)}`];

function alarms({ incidents, false_alarms: wrong }) {
  if (incidents === 0) return "No incidents";
  return wrong === 0
    ? `${count(incidents, "incident")}, no false alarm`
    : `${count(incidents, "incident")}, ${count(wrong, "false alarm")} (${share(wrong / incidents)})`;
}

const recoveryTable = (list) =>
  list.length === 0
    ? h("p", { class: "dim" }, "No recovery.")
    : table(
        "Recoveries, newest first",
        [
          { head: "", cell: (one) => sign(TONES[one.outcome] ?? "plain") },
          { head: "When", cell: (one) => when(one.at) },
          { head: "ID", name: true, number: true, cell: (one) => [incidentLink(one.incident), `.${one.number}`] },
          { head: "Unit", cell: (one) => unitLink(one.worker, one.unit) },
          { head: "Why", cell: (one) => one.condition ?? "asked" },
          { head: "Action", cell: (one) => h("span", { class: "action" }, one.action) },
          { head: "Outcome", cell: (one) => one.outcome },
          {
            head: "Well after",
            number: true,
            cell: (one) => (one.time_to_recover ? fine(micros(one.time_to_recover)) : ""),
          },
          { head: "Reason", wide: true, cell: (one) => one.reason },
        ],
        list,
        (one) => `${one.incident}.${one.number}`,
      );

const DEEDS = new Set([
  "paused",
  "resumed",
  "requested",
  "approval_answered",
  "marked_false",
  "settings_changed",
  "strategies_changed",
]);

export function showAudit(main, _place, query, life) {
  let chosen = query;
  const path = () => pathWith("/audit", { worker: chosen.worker, before: chosen.before, limit: PAGE });
  const found = new Reading(path, life, draw, { on: (fact) => DEEDS.has(fact.what.event) });
  draw();
  return (next) => {
    chosen = next;
    found.restart();
    draw();
  };

  function draw() {
    patch(
      main,
      heading("Audit", h("p", { class: "dim" }, "What people did, newest first.")),
      h(
        "section",
        { class: "box", key: "list", "aria-label": "Audit" },
        shown(found.found, (list) => [deeds(list), paging("audit", chosen, list.length === PAGE, list.at(-1)?.id)]),
      ),
    );
  }
}

const deeds = (list) =>
  list.length === 0
    ? h("p", { class: "dim" }, "Nobody has done anything.")
    : table(
        "What people did, newest first",
        [
          { head: "When", cell: (one) => when(one.at) },
          { head: "Who", name: true, cell: (one) => one.who },
          { head: "About", cell: about },
          {
            head: "Incident",
            number: true,
            cell: (one) => (typeof one.incident === "number" ? incidentLink(one.incident) : ""),
          },
          { head: "What", wide: true, cell: (one) => one.text },
        ],
        list,
        (one) => one.id,
      );

function about({ worker, unit }) {
  if (worker && unit) return unitLink(worker, unit);
  return worker ? workerLink(worker) : "";
}
