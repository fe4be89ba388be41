// What is firing, most severe first; where it was told; and what fired before.

import { box, h, heading, incidentLink, patch, sign, table, unitLink, workerLink } from "./dom.js";
import { Reading, shown } from "./reading.js";
import { when } from "./time.js";
import { between } from "./words.js";

const TONES = { critical: "dead", high: "critical", medium: "warning", low: "plain" };

export function show(main, _place, _query, life) {
  const found = new Reading(() => "/alerts?limit=50", life, draw, { on: (fact) => fact.incident !== undefined });
  draw();

  function draw() {
    patch(
      main,
      heading("Alerts"),
      shown(found.found, (alerts) => [
        box(
          "firing",
          "Firing",
          alerts.firing.length === 0 ? h("p", { class: "dim" }, "Nothing is firing.") : alerts.firing.map(firing),
        ),
        box("told", "Alertmanagers", deliveries(alerts.alertmanagers)),
        box("before", "Before", past(alerts.history.filter((one) => one.until))),
      ]),
    );
  }
}

const about = ({ worker, unit }) => (unit && worker ? unitLink(worker, unit) : worker && workerLink(worker));

/** In full: what a reader at night needs without a second look. */
const firing = (alert) =>
  h(
    "div",
    { class: "alert", key: `${alert.name}-${alert.worker ?? ""}-${alert.unit ?? ""}` },
    h(
      "h3",
      null,
      sign(TONES[alert.severity] ?? "plain"),
      ` ${alert.severity}  ${alert.name} `,
      h("span", { class: "dim" }, "since ", when(alert.since, "point")),
    ),
    h("p", null, alert.message),
    alert.evidence.map((text) => h("p", { class: "dim" }, `seen: ${text}`)),
    alert.tried.map((text) => h("p", { class: "dim" }, `tried: ${text}`)),
    h(
      "p",
      null,
      `now: ${alert.advice} `,
      about(alert),
      alert.incident !== undefined && [" ", incidentLink(alert.incident)],
    ),
  );

function deliveries(all) {
  if (all.length === 0)
    return h(
      "p",
      { class: "dim" },
      "No Alertmanager is configured, so alerts are shown here alone. Add [alertmanager.NAME] with its url.",
    );
  const number = (head, name) => ({ head, number: true, cell: (one) => one[name] });
  return table(
    "Alertmanagers",
    [
      { head: "", cell: (one) => sign(one.last_error ? "dead" : "healthy") },
      { head: "Alertmanager", name: true, cell: (one) => one.alertmanager },
      number("Taken", "sent"),
      number("Failed", "errors"),
      number("Dropped", "dropped"),
      number("Waiting", "queued"),
      { head: "Last", cell: (one) => (one.last_success ? when(one.last_success) : "–") },
      {
        head: "State",
        wide: true,
        cell: (one) => (one.last_error ? `${one.url}: ${one.last_error}` : `takes alerts at ${one.url}`),
      },
    ],
    all,
    (one) => one.alertmanager,
  );
}

const past = (all) =>
  all.length === 0
    ? h("p", { class: "dim" }, "Nothing fired before.")
    : table(
        "Alerts of the past, newest first",
        [
          { head: "", cell: (one) => sign(TONES[one.severity] ?? "plain") },
          { head: "Since", cell: (one) => when(one.since) },
          { head: "Held", number: true, cell: (one) => between(one.since, one.until) },
          { head: "Alert", name: true, cell: (one) => one.name },
          { head: "About", cell: about },
          { head: "What", wide: true, cell: (one) => one.message },
        ],
        all,
        (one) => `${one.name}-${one.unit ?? one.worker ?? ""}-${one.since}`,
      );
