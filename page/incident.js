// One incident: what, where, how it ended; its time line by what was seen, judged, waited for, done and verified; the
// plan that was considered, and what became of each step.

import { approvalCard, deed, markFalse, needed, recover } from "./deeds.js";
import { box, h, healthWord, heading, incidentLink, pair, patch, sign, unitLink, workerLink } from "./dom.js";
import { explanationParts } from "./explanation.js";
import { phase, tone } from "./facts.js";
import { conditionsOf, doing, toneOf, what } from "./incidents.js";
import { onMe } from "./api.js";
import { Reading, shown } from "./reading.js";
import { when } from "./time.js";
import { clock, count, fine, human, micros, times } from "./words.js";

/** A silence longer than this is named. */
const SILENCE_US = 60e6;

export function show(main, place, _query, life) {
  const id = Number(place[1]);
  const found = new Reading(() => `/incidents/${id}`, life, draw, {
    every: 15_000,
    on: (fact) => fact.incident === id,
  });
  onMe(draw, life);
  draw();

  function draw() {
    const isGone = found.found.trouble?.status === 404;
    const title = found.found.data ? null : heading(`Incident #${place[1]}`);
    patch(main, title, isGone ? h("p", null, found.found.trouble?.message) : shown(found.found, whole));
  }
}

function whole(story) {
  const { incident, approval, explanation } = story;
  return [
    head(incident),
    approval && h("div", { class: "cards", key: "approval" }, approvalCard(approval, "h2")),
    box("timeline", "Time line", timeline(story)),
    h(
      "div",
      { class: "boxes", key: "why" },
      box("plan", "The plan that was considered", plan(incident)),
      box("similar", "Like it before", similar(incident)),
      explanation &&
        incident.closed_at === null &&
        box("now", "Why it is (not) recovered now", explanationParts(explanation)),
    ),
  ];
}

function head(incident) {
  const { origin, id } = incident;
  return heading(
    [sign(toneOf(incident)), ` Incident #${id}: ${what(incident)}`],
    h(
      "p",
      { class: "sub" },
      unitLink(incident.worker, incident.unit),
      h("span", null, "of worker ", workerLink(incident.worker)),
      h("span", null, "worst ", healthWord(incident.worst)),
    ),
    h(
      "dl",
      { class: "pairs" },
      origin.by === "operator" &&
        pair("Asked", `${origin.who} asked for ${origin.action}${origin.force ? ", past the gates" : ""}`),
      pair(
        "Seen",
        conditionsOf(incident).map(([name, evidence]) =>
          h("div", null, h("strong", null, name), `: ${evidence.text}${peak(incident, name, evidence)}`),
        ),
      ),
      incident.pattern &&
        pair(
          "Its log before",
          h("code", null, incident.pattern.template),
          h("span", { class: "dim" }, ` (pattern ${incident.pattern.id})`),
        ),
      incident.unusual?.length > 0 &&
        pair(
          "Unusual then",
          incident.unusual.map((one) => h("div", null, unusual(one))),
        ),
      pair(
        "Failed",
        when(incident.failed_wall, "point"),
        `, seen ${fine(Math.max(0, incident.opened_at - incident.failed_at))} later`,
      ),
      pair(
        incident.closed_wall === null ? "Open" : "Closed",
        ending(incident),
        h("span", { class: "dim" }, `; ${tallies(incident)}`),
      ),
    ),
    h("div", { class: "deeds" }, deeds(incident)),
    needed(),
  );
}

function peak({ peaks }, name, { value }) {
  const highest = peaks?.[name];
  return highest !== undefined && value !== undefined && highest > value * 1.01
    ? ` (at most ${+highest.toFixed(1)})`
    : "";
}

const NOUNS = { cpu: "CPU", memory: "memory", tasks: "tasks", io: "IO", errors: "errors in the journal" };

function unusual({ measure, value, usual, siblings }) {
  const word = (n) => amount(measure, n);
  const own = usual ? `, usually ${word(usual[0])} to ${word(usual[1])}` : "";
  const others = siblings
    ? `; its ${count(siblings.count, "sibling")} ${word(siblings.low)} to ${word(siblings.high)}`
    : "";
  return `${NOUNS[measure] ?? measure} ${word(value)}${own}${others}`;
}

function amount(measure, n) {
  if (measure === "cpu") return `${n.toFixed(0)} %`;
  if (measure === "memory") return n >= 2 ** 30 ? `${(n / 2 ** 30).toFixed(1)} GiB` : `${(n / 2 ** 20).toFixed(0)} MiB`;
  if (measure === "io") return n >= 2 ** 20 ? `${(n / 2 ** 20).toFixed(1)} MiB/s` : `${(n / 1024).toFixed(0)} KiB/s`;
  return measure === "errors" ? `${n.toFixed(1)} a minute` : n.toFixed(0);
}

function ending(incident) {
  if (incident.closed_wall === null) {
    const now = doing(incident);
    return ["for ", when(incident.failed_wall, "since"), now && `: ${now}`];
  }
  const spent = incident.time_to_recover ? `, well again after ${fine(micros(incident.time_to_recover))}` : "";
  return [when(incident.closed_wall, "point"), ` as ${incident.resolution}${spent}`];
}

function tallies({ attempts, escalations, reopened }) {
  const parts = [
    count(attempts.length, "attempt"),
    escalations > 0 && count(escalations, "escalation"),
    reopened > 0 && `reopened ${times(reopened)}`,
  ];
  const flagged = attempts.find((one) => one.flagged);
  return [...parts, flagged && `the intent of attempt ${flagged.number} was not stored in time`]
    .filter(Boolean)
    .join(", ");
}

function deeds(incident) {
  const { id, unit, resolution } = incident;
  const hooks = incident.plan.steps.map((step) => step.action).filter((action) => action.startsWith("hook:"));
  return [
    resolution === null &&
      deed("Recover …", `unitmedic recover ${unit} --action restart`, () => recover({ unit }, hooks)),
    resolution !== "false_alarm" &&
      deed("Mark as a false alarm", `unitmedic incidents mark-false ${id}`, () => markFalse(id)),
  ];
}

/** Facts of one phase that follow each other stand together. */
function timeline({ facts, told, left_out: leftOut }) {
  const parts = [];
  let group = null;
  facts.forEach((fact, nth) => {
    const silence = nth > 0 ? fact.at.wall - facts[nth - 1].at.wall : 0;
    const name = phase(fact.what);
    if (silence > SILENCE_US) parts.push({ silence: `${human(silence)} later` });
    if (leftOut > 0 && nth === Math.floor(facts.length / 2))
      parts.push({ silence: `${count(leftOut, "fact")} left out` });
    if (!group || group.name !== name || parts.at(-1) !== group) parts.push((group = { name, items: [] }));
    group.items.push(line(fact, told[nth]));
  });
  return h(
    "div",
    { class: "timeline" },
    parts.map((one) =>
      one.silence
        ? h("p", { class: "silence" }, `⋮ ${one.silence}`)
        : h("section", { class: `phase ${one.name.split(" ")[0]}` }, h("h3", null, one.name), h("ol", null, one.items)),
    ),
  );
}

function line(fact, text) {
  const moment = when(fact.at.wall);
  // A time line is read to the millisecond.
  moment.textContent = clock(fact.at.wall);
  moment.removeAttribute("data-wording");
  return h(
    "li",
    { key: `${fact.seq}-${fact.at.wall}` },
    sign(tone(fact.what)),
    moment,
    h("span", null, text ?? fact.what.event),
  );
}

const FATES = {
  succeeded: ["healthy", "helped"],
  failed: ["dead", "did not help"],
  superseded: ["plain", "was called off"],
  in_doubt: ["warning", "is in doubt"],
};

function plan(incident) {
  const { steps, ranking } = incident.plan;
  if (steps.length === 0 && incident.attempts.length === 0)
    return h("p", { class: "dim" }, "Nothing is planned: tell only.");
  const planned = new Set(steps.map((step) => step.action));
  const others = incident.attempts.filter((attempt) => !planned.has(attempt.action));
  return [
    h(
      "ol",
      { class: "steps" },
      steps.map((step) =>
        h(
          "li",
          null,
          h(
            "div",
            null,
            h("p", null, h("span", { class: "action" }, step.action), `: ${reasonOf(step)}`),
            fates(incident, step.action),
          ),
        ),
      ),
    ),
    others.length > 0 &&
      h(
        "div",
        null,
        h("h3", null, "Also done"),
        others.map((attempt) => fate(incident, attempt)),
      ),
    ranking &&
      h(
        "p",
        { class: "dim more" },
        ranking.learned
          ? ["The order was learned; ", h("a", { href: "#/strategies" }, "strategies"), " shows from what."]
          : `Order: ${ranking.why}.`,
      ),
  ];
}

/** The reason of the first of a learned order begins with its name. */
const reasonOf = ({ action, reason }) => (reason.startsWith(`${action} `) ? reason.slice(action.length + 1) : reason);

function fates(incident, action) {
  const tried = incident.attempts.filter((attempt) => attempt.action === action);
  if (tried.length > 0) return tried.map((attempt) => fate(incident, attempt));
  if (incident.idle_actions?.includes(action)) return h("p", { class: "fate dim" }, "there was nothing to do");
  if (action === "escalate" && incident.escalations > 0)
    return h("p", { class: "fate" }, sign("dead"), ` escalated ${times(incident.escalations)}`);
  return h("p", { class: "fate dim" }, incident.closed_at === null ? "not tried yet" : "not needed");
}

function fate(incident, attempt) {
  const [kind, word] = FATES[attempt.outcome] ?? ["act", `is ${attempt.stage}`];
  const pattern = attempt.reason ? `: ${attempt.reason}` : "";
  return h(
    "p",
    { class: "fate" },
    sign(kind),
    ` #${incident.id}.${attempt.number} `,
    when(attempt.intended_wall),
    ` ${word}${pattern}`,
  );
}

function similar({ similar: past }) {
  if (!past?.length) return h("p", { class: "dim" }, "No past incident is like it.");
  return h(
    "ul",
    { class: "lines" },
    past.map((one) =>
      h(
        "li",
        { key: one.incident },
        sign("plain"),
        h(
          "span",
          null,
          incidentLink(one.incident),
          " of ",
          h("span", { class: "unit" }, one.unit),
          ", ",
          when(one.at),
          ` (${one.why}): ${outcomeOf(one)}`,
        ),
      ),
    ),
  );
}

function outcomeOf(past) {
  const vain = past.in_vain.filter((action) => action !== past.helped).join(" and ");
  const spent = past.time_to_recover ? `, well again after ${fine(micros(past.time_to_recover))}` : "";
  if (past.helped) return `${past.helped} helped${spent}${vain && `; ${vain} had not`}`;
  if (past.resolution === "systemd") return `systemd brought it back${spent}`;
  if (past.resolution === "operator") return "an operator took over";
  if (!vain && (past.resolution === "self_cleared" || past.resolution === "false_alarm"))
    return "it went away by itself";
  return `${vain ? `${vain} had not helped; ` : ""}it ended as ${past.resolution}${spent}`;
}
