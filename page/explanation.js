// Why an instance was or was not recovered, and what would happen next, in the words of `unitmedic explain`.

import { refusalParts } from "./deeds.js";
import { h, incidentLink, sign, table } from "./dom.js";
import { healthOf } from "./facts.js";
import { now, when } from "./time.js";
import { coarse, count, human, micros, moment, serves } from "./words.js";

/** Failures that are named with their time, newest ones. */
const FAILURES_NAMED = 5;

/** `worker.mail.backoff` is about `backoff`. */
const last = (key) => key.split(".").at(-1);

const toned = (lines) =>
  h(
    "ul",
    { class: "lines" },
    lines.map(([tone, ...text]) => h("li", null, tone ? sign(tone) : null, h("span", null, text))),
  );

export function explanationParts(explanation) {
  return [
    part("Answer", h("p", { class: "dim" }, explanation.standing), toned(answer(explanation))),
    Object.keys(explanation.conditions).length > 1 &&
      part(
        "What holds",
        toned(
          Object.entries(explanation.conditions).map(([condition, evidence]) => [
            healthOf(condition),
            `${condition}: ${evidence.text}`,
          ]),
        ),
      ),
    gates(explanation),
    restarts(explanation),
    explanation.settings.length > 0 &&
      h("details", { key: "settings" }, h("summary", null, "Settings that decide"), settings(explanation.settings)),
  ];
}

const part = (title, ...parts) => h("section", { key: title }, h("h3", null, title), parts);

/** "Why is it (not) being recovered?", in one to three sentences. */
function answer(explanation) {
  const { health, incident } = explanation;
  if (health === "stopped") return [["stopped", aboutStopped(explanation)]];
  if (health === "unknown") return [["unknown", aboutUnknown(explanation)]];
  if (incident && incident.closed_at === null) return aboutOpen(explanation);
  if (serves(health)) return aboutWell(explanation);
  return [["warning", `It is ${health} and has no incident yet: ${explanation.because}.`]];
}

function aboutStopped({ standing, unit }) {
  const through = /taken along by [^=]*=(.+)$/.exec(standing);
  const masked = standing.endsWith("is masked") ? `First systemctl unmask ${unit}. ` : "";
  const first = through ? `Look at ${through[1]} first. ` : masked;
  return `It is left alone: ${standing}. ${first}Start it (systemctl start) and it is watched again.`;
}

function aboutUnknown({ because }) {
  if (because.startsWith("activating"))
    return `It is being started: ${because}. One that takes longer than start_timeout counts as stuck.`;
  const hint = because.endsWith("(not found)")
    ? " Its name in the configuration is wrong, or its unit file is not installed."
    : "";
  return `It cannot be seen, so it is not judged and nothing is done: ${because}.${hint}`;
}

function aboutWell({ conditions, incident }) {
  const names = Object.keys(conditions);
  const lines =
    names.length === 0
      ? [["healthy", "It is well: there is nothing to recover."]]
      : [["warning", `It works, with a complaint (${names.join(", ")}); that alone earns no action, it is told only.`]];
  if (incident?.closed_wall)
    lines.push([
      "plain",
      [
        "Its last incident ",
        incidentLink(incident.id),
        " ended ",
        when(incident.closed_wall, "point"),
        `: ${incident.resolution}.`,
      ],
    ]);
  return lines;
}

const STAGES = {
  recording: "is about to be done; its intent is being written down.",
  draining: "is under way: it was asked to finish its work first.",
  surging: "is under way: an extra instance is to stand in first.",
  acting: "is under way: the order is with systemd.",
};

function aboutOpen(explanation) {
  const { incident, gates: all, next_action: action, plan } = explanation;
  const attempt = incident.attempts.at(-1);
  if (attempt && attempt.stage !== "ended") {
    const verifying =
      attempt.well_at === null
        ? "is done; it is not well yet."
        : "is done; now it must stay healthy to count as recovered.";
    return [["act", `${attempt.action} ${STAGES[attempt.stage] ?? verifying}`]];
  }
  const refusal = all.find((gate) => gate.refusal)?.refusal;
  const next = nextTry(explanation);
  if (action === null || action === "escalate") return [["warning", noneLeft(plan, incident)]];
  if (refusal)
    return [
      ["warning", `${action} is held back by gate ${refusal.gate}: ${refusal.text}.`],
      ...(next ? [["stopped", next]] : []),
    ];
  return [["act", next ?? `${action} is due now.`]];
}

function noneLeft(plan, incident) {
  if (plan.steps.length === 0) return "Nothing is planned for what it has: it is told only.";
  return incident.waiting
    ? `No action is left: ${incident.waiting.text}.`
    : "No action is left but to tell an operator.";
}

function nextTry({ cooldown_until: at, cooldown_left: left }) {
  if (!at || !left || micros(left) === 0) return null;
  return ["The next attempt may be made at ", when(at), `, in ${coarse(micros(left))}.`];
}

function gates(explanation) {
  const { next_action: action, gates: all, incident } = explanation;
  if (action === null || (incident?.attempts.at(-1)?.stage ?? "ended") !== "ended") return null;
  const refused = all.filter((gate) => gate.refusal);
  const open = all.length - refused.length;
  const lines = refused.map(({ refusal }) => [
    "warning",
    [...refusalParts({ ...refusal, setting: null }), whereSet(refusal.setting, explanation.settings)],
  ]);
  if (refused.length === 0) lines.push(["healthy", `nothing: all ${count(open, "gate")} let it through`]);
  else if (open > 0) lines.push(["healthy", `the other ${count(open, "gate")} let it through`]);
  return part(`What stands between it and ${action}`, toned(lines));
}

/** `worker.mail.backoff = 8.0 s, set at /etc/unitmedic/unitmedic.toml:26`. */
function whereSet(key, all) {
  if (!key) return null;
  const setting = all.find((one) => one.key === key || last(one.key) === last(key));
  const text = !setting
    ? `setting ${key}`
    : `${setting.key} = ${setting.value}, ${setting.origin === "default" ? "the default" : `set at ${setting.origin}`}`;
  return h("div", { class: "dim" }, text);
}

function restarts(explanation) {
  const { recent_failures: failures, crash_loop_limit: limit } = explanation;
  const causes = Object.entries(explanation.restarts)
    .filter(([, n]) => n > 0)
    .map(([by, n]) => `${n} by ${by}`)
    .join(", ");
  if (!causes && failures.length === 0) return null;
  const window = human(micros(explanation.crash_loop_window));
  const newest = failures
    .slice(-FAILURES_NAMED)
    .map((at) => moment(at, now()))
    .join(", ");
  const which = failures.length > FAILURES_NAMED ? "the last at" : "at";
  const some =
    failures.length === 0
      ? `no failure in the last ${window}`
      : `${count(failures.length, "failure")} in the last ${window}, ${which} ${newest}`;
  return part(
    "Restarts",
    toned([
      ...(causes ? [["plain", `restarts since it is watched: ${causes}`]] : []),
      [
        failures.length >= limit ? "dead" : "plain",
        [
          `${some}; ${limit} within ${window} make a crash loop`,
          failures.length > 0 && whereSet("crash_loop_failures", explanation.settings),
        ],
      ],
      ...(failures.length > 1
        ? [
            [
              "act",
              [
                "restarting does not mend the cause; its own words: ",
                h("code", null, `journalctl -u ${explanation.unit} -n 50`),
              ],
            ],
          ]
        : []),
    ]),
  );
}

const settings = (all) =>
  table(
    "Settings that decide",
    [
      { head: "Setting", name: true, cell: (one) => h("code", null, last(one.key)) },
      { head: "Value", cell: (one) => one.value },
      { head: "Where", wide: true, cell: (one) => h("span", { class: "dim" }, one.origin) },
    ],
    all,
    (one) => one.key,
  );
