// The card of a planned action that waits for a yes: what, why, what else was considered, what happens without an answer.

import { approve, deed, reject } from "./deeds.js";
import { h, healthWord, incidentLink, pair, unitLink } from "./dom.js";
import { when } from "./time.js";

/** `level`: of its heading, below that of the place where it stands. */
export function approvalCard(card, level = "h3") {
  const { incident, action } = card;
  return h("article", { class: "card", key: `approval-${incident}-${action}`, "aria-label": `${action} of ${card.unit} waits for a yes` },
    h("header", null,
      h(level, null, h("span", { class: "action" }, action), " of ", unitLink(card.worker, card.unit)),
      h("p", { class: "deadline" }, h("strong", null, when(card.deadline, "left")), " left to answer")),
    h("p", { class: "what" }, card.what),
    h("dl", null,
      pair("Why", card.why.map((evidence) => h("div", null, evidence.text)), h("div", { class: "dim" }, card.reason)),
      pair("Health", healthWord(card.health), " in incident ", incidentLink(incident)),
      card.considered.length > 0 && pair("Considered", card.considered.map((other) =>
        h("div", null, h("span", { class: "action" }, other.action), `: ${other.why_not}`))),
      pair("Without an answer", card.without_answer, " at ", when(card.deadline))),
    card.approved_by ? h("p", { class: "good" }, `${card.approved_by} said yes; it waits for another gate`) : choices(card));
}

const choices = (card) =>
  h("p", { class: "choices" },
    deed("Approve", `unitmedic approve ${card.incident}`, () => approve(card), { class: "confirm" }),
    deed("Reject", `unitmedic reject ${card.incident}`, () => reject(card)));
