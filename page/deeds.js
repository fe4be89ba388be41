// Deeds: what an operator can ask for, and the card of a planned action that waits for a yes. Each is confirmed in a
// dialog that says first what will happen, and its answer is shown and said. Who may not is told what is needed.

import { Trouble, ask, me, read } from "./api.js";
import { Dialog, tell } from "./dialog.js";
import { button, h, healthWord, heard, incidentLink, pair, sign, unitLink } from "./dom.js";
import { listen, refreshSoon } from "./present.js";
import { say } from "./say.js";
import { askWho } from "./signin.js";
import { now, wallOf, when } from "./time.js";
import { pathWith } from "./words.js";

/** What can be asked for by hand, mildest first. Hooks have names of their own. */
const ACTIONS = ["memory_cleanup", "connection_reset", "scale_up", "scale_down", "graceful_restart", "restart"];
/** Units that a preview lists one by one. */
const LISTED = 20;

const nameOf = (target) => ("worker" in target ? target.worker : target.unit);

/** A button for a deed. `command` does the same on the host. */
export function deed(text, command, act, more = {}) {
  const isLocked = !me.can_act;
  const element = button(text, () => permitted(text, command, act), {
    ...more,
    class: `deed ${isLocked ? "locked" : ""} ${more.class ?? ""}`,
  });
  if (isLocked) element.append(heard(" (an operator is needed)"));
  return element;
}

/** What is needed to act, as a line beside the deeds; nothing for those who may. */
export function needed() {
  if (me.can_act) return null;
  const who = me.name ? `You are ${me.name}, ${me.role}. ` : "";
  return h(
    "p",
    { class: "dim needed" },
    who,
    me.can_sign_in ? "Deeds need a sign-in as an operator." : "Deeds are done on the host, with unitmedic.",
  );
}

async function permitted(text, command, act) {
  if (me.can_act) return act();
  if (me.can_sign_in) {
    const isKnown = await askWho(`“${text}” needs an operator.`);
    if (isKnown && me.can_act) return act();
    if (!isKnown) return undefined;
    return tell(
      "Not allowed",
      h("p", null, `${me.name} has the role ${me.role}; deeds need the role operator.`),
      onHost(command),
    );
  }
  return tell("On the host", h("p", null, "This address only reads. On the host, this does it:"), onHost(command));
}

const onHost = (command) => h("pre", { tabindex: "0" }, h("code", null, command));

/** Asks, and shows the answer in the dialog. */
async function carryOut(dialog, wish) {
  dialog.busy(true);
  try {
    answered(dialog, await ask(wish));
  } catch (error) {
    const trouble = error instanceof Trouble ? error : new Trouble(0, String(error));
    dialog.busy(false);
    if (trouble.status === 401 && (await askWho("The sign-in is not valid (any more)."))) return carryOut(dialog, wish);
    const words = trouble.status === 0 ? "No answer: it may have been done. Look before asking again." : trouble.words;
    dialog.say("trouble", words);
  }
  return undefined;
}

function answered(dialog, reply) {
  dialog.busy(false);
  refreshSoon();
  const isDone = reply.reply === "done" || reply.reply === "accepted";
  dialog.say(isDone ? "good" : "refused", ...replyParts(reply));
  say(dialog.answer.textContent);
  if (isDone) dialog.finish();
}

function replyParts(reply) {
  switch (reply.reply) {
    case "done":
      return [reply.text];
    case "accepted":
      return [
        "accepted as incident ",
        reply.incidents.map((id, nth) => [nth > 0 && ", ", incidentLink(id)]),
        reply.waiting.length > 0 && `; then, one by one: ${reply.waiting.join(", ")}`,
      ];
    case "refused":
      return [`${reply.unit}: refused by `, ...refusalParts(reply.refusal)];
    default:
      return [reply.text ?? "the answer was not understood"];
  }
}

/** A gate that says no, in words. */
export const refusalParts = (refusal) => [
  `gate ${refusal.gate}: ${refusal.text}`,
  refusal.until !== null && refusal.until !== undefined && ["; possible at ", when(wallOf(refusal.until), "point")],
  refusal.setting && `; setting ${refusal.setting}`,
];

const previewUnit = (unit) =>
  h(
    "li",
    { key: unit.unit },
    h("span", { class: "unit" }, unit.unit),
    h("span", { class: `health ${unit.health}` }, " ", sign(unit.health), unit.health),
    unit.refusal && h("p", { class: "refused" }, "held back by ", refusalParts(unit.refusal)),
    unit.dependents.length > 0 && h("p", null, `systemd takes along: ${unit.dependents.join(", ")}`),
  );

function previewParts(preview) {
  const { units } = preview;
  const isSeries = units.length > 1;
  return h(
    "div",
    { key: "preview", class: "preview" },
    h("p", null, h("strong", null, preview.what)),
    preview.notes.map((note) => h("p", { class: "note" }, note)),
    units.length === 0 && h("p", null, "No unit is concerned."),
    isSeries && h("p", null, "In this order, one after the other:"),
    h(isSeries ? "ol" : "ul", { class: "units" }, units.slice(0, LISTED).map(previewUnit)),
    units.length > LISTED && h("p", null, `and ${units.length - LISTED} more`),
  );
}

export function recover(target, hooks = [], first = "restart") {
  const actions = [...ACTIONS, ...hooks.map((hook) => `hook:${hook.replace(/^hook:/, "")}`)];
  const dialog = new Dialog(`Recover ${nameOf(target)}`, {
    submit: "Do it",
    danger: true,
    onSubmit: () => carryOut(dialog, { ask: "recover", target, action: choice.value, force: force.checked }),
  });
  const choice = h(
    "select",
    { id: "action", onchange: load },
    actions.map((action) => h("option", { value: action, selected: action === first }, action)),
  );
  const force = h("input", { id: "force", type: "checkbox", onchange: () => draw() });
  const chosen = h("p", { class: "field", key: "chosen" }, h("label", { for: "action" }, "Action"), choice);
  const forced = h(
    "p",
    { class: "tick", key: "forced" },
    force,
    h("label", { for: "force" }, "past the gates; it is recorded with your name"),
  );
  let found = null;
  let round = 0;
  load();
  dialog.open();

  async function load() {
    round += 1;
    const mine = round;
    found = null;
    draw();
    try {
      const preview = await read(pathWith("/preview", { ...target, action: choice.value }));
      if (mine === round) found = { preview };
    } catch (error) {
      if (mine === round) found = { trouble: error };
    }
    if (mine === round) draw();
  }

  function draw() {
    const refused = found?.preview?.units.filter((unit) => unit.refusal).length ?? 0;
    const isRefused = refused > 0 && refused === found.preview.units.length;
    dialog.fill(
      chosen,
      preview(),
      refused > 0 && forced,
      isRefused &&
        !force.checked &&
        h("p", { key: "all" }, "Every gate must say yes: as it is now, this would be refused."),
    );
    dialog.confirm.disabled = !found?.preview || found.preview.units.length === 0 || (isRefused && !force.checked);
  }

  function preview() {
    if (!found) return h("p", { key: "wait", class: "dim" }, "asking what it would do …");
    if (found.trouble)
      return h("p", { key: "trouble", class: "trouble" }, found.trouble.words ?? String(found.trouble));
    return previewParts(found.preview);
  }
}

const HOUR = 3600e6;
/** How long a pause may last, by its words. */
const PAUSES = [
  ["15 min", HOUR / 4],
  ["1 h", HOUR],
  ["4 h", 4 * HOUR],
  ["12 h", 12 * HOUR],
  ["until resumed", null],
];

export function pause(worker) {
  const span = h(
    "select",
    { id: "span" },
    PAUSES.map(([word], place) => h("option", { value: place, selected: place === 1 }, word)),
  );
  const reason = h("input", { id: "reason", maxlength: 300, placeholder: "deploy of mail 2.1" });
  const dialog = new Dialog(`Pause ${worker ?? "everything"}`, {
    submit: "Pause",
    onSubmit: () => {
      const length = PAUSES[Number(span.value)][1];
      const until = length === null ? null : Math.round(now() + length);
      return carryOut(dialog, { ask: "pause", worker, until, reason: reason.value });
    },
  });
  dialog.fill(
    h(
      "p",
      null,
      `${worker ?? "Every worker"} is watched and judged, and nothing is done to it. Paused time does not count for availability.`,
    ),
    h("p", { class: "field" }, h("label", { for: "span" }, "For"), span),
    h("p", { class: "field" }, h("label", { for: "reason" }, "Reason"), reason),
  );
  dialog.open();
}

/** A deed with nothing to choose. */
function simple(title, submit, wish, ...says) {
  const dialog = new Dialog(title, { submit, onSubmit: () => carryOut(dialog, wish) });
  dialog.fill(...says);
  return dialog.open();
}

export function resume(worker) {
  const says = worker
    ? `The pause of ${worker} ends, and unitmedic acts on it again at once where it is sick. A pause of everything stays.`
    : "Every pause ends, also those of single workers; unitmedic acts again at once where something is sick.";
  simple(`Resume ${worker ?? "everything"}`, "Resume", { ask: "resume", worker }, h("p", null, says));
}

export function markFalse(incident) {
  simple(
    `Mark incident #${incident} as a false alarm`,
    "Mark it",
    { ask: "mark_false", incident },
    h(
      "p",
      null,
      "It says that nothing was wrong. It enters the ratio of false alarms, and advice on thresholds rests on it. It cannot be taken back.",
    ),
  );
}

export function reload() {
  simple(
    "Reload the configuration",
    "Reload",
    { ask: "reload" },
    h(
      "p",
      null,
      "The files are read anew. Where they are wrong, the running configuration stays in force, and the answer says what is wrong.",
    ),
  );
}

/** After such a fact, what waits for a yes may be another. */
export const isOfApproval = (fact) =>
  fact.what.event.startsWith("approval") || fact.what.event === "incident_closed";

/** Says in the dialog of a question that it is settled, should that happen while it is open. */
function heed(dialog, card) {
  const open = new AbortController();
  dialog.element.addEventListener("close", () => open.abort());
  const settles = (fact) => fact.incident === card.incident && isOfApproval(fact);
  const hear = (facts) => {
    const fact = facts.find(settles);
    // The answer that this dialog has sent is told by itself.
    if (!fact || dialog.isBusy || dialog.isFinished) return;
    dialog.say("refused", settled(fact.what));
    say(dialog.answer.textContent);
    dialog.finish();
  };
  listen("facts", hear, open.signal);
}

function settled(what) {
  switch (what.event) {
    case "approval_answered":
      return `${what.who} said ${what.approved ? "yes" : "no"} meanwhile.`;
    case "approval_expired":
      return "The time to answer is over.";
    case "approval_asked":
      return "It is asked anew: close this, and look at the card again.";
    default:
      return "The incident is closed: there is nothing left to answer.";
  }
}

export function approve(card) {
  const dialog = simple(
    `Approve ${card.action} of ${card.unit}`,
    "Approve",
    { ask: "approve", incident: card.incident, action: card.action, asked: card.asked },
    h("p", null, h("strong", null, card.what)),
    h(
      "p",
      null,
      "It is done now, or as soon as the other gates let it through. The yes is for this action of this incident, once.",
    ),
  );
  heed(dialog, card);
}

export function reject(card) {
  const reason = h("input", { id: "reason", maxlength: 300 });
  const dialog = new Dialog(`Reject ${card.action} of ${card.unit}`, {
    submit: "Reject",
    onSubmit: () =>
      carryOut(dialog, { ask: "reject", incident: card.incident, action: card.action, reason: reason.value, asked: card.asked }),
  });
  dialog.fill(
    h("p", null, "It is not done. The plan goes on with what is left; when nothing is, an operator is called."),
    h("p", { class: "field" }, h("label", { for: "reason" }, "Reason"), reason),
  );
  heed(dialog.open(), card);
}

/** What, why, what else was considered, what happens without an answer. `level`: of its heading, below that of the place where it stands. */
export function approvalCard(card, level = "h3") {
  const { incident, action } = card;
  return h(
    "article",
    { class: "card", key: `approval-${incident}-${action}`, "aria-label": `${action} of ${card.unit} waits for a yes` },
    h(
      "header",
      null,
      h(level, null, h("span", { class: "action" }, action), " of ", unitLink(card.worker, card.unit)),
      h("p", { class: "deadline" }, h("strong", null, when(card.deadline, "left")), " left to answer"),
    ),
    h("p", { class: "what" }, card.what),
    h(
      "dl",
      null,
      pair(
        "Why",
        card.why.map((evidence) => h("div", null, evidence.text)),
        h("div", { class: "dim" }, card.reason),
      ),
      pair("Health", healthWord(card.health), " in incident ", incidentLink(incident)),
      card.considered.length > 0 &&
        pair(
          "Considered",
          card.considered.map((other) =>
            h("div", null, h("span", { class: "action" }, other.action), `: ${other.why_not}`),
          ),
        ),
      pair("Without an answer", "by ", when(card.deadline), ": ", card.without_answer),
    ),
    card.approved_by
      ? h("p", { class: "good" }, `${card.approved_by} said yes; it waits for another gate`)
      : choices(card),
  );
}

const choices = (card) =>
  h(
    "p",
    { class: "choices" },
    deed("Approve", `unitmedic approve ${card.incident}`, () => approve(card), { class: "confirm" }),
    deed("Reject", `unitmedic reject ${card.incident}`, () => reject(card)),
  );
