// What was learned: which action helped for which failure and why it is tried in this order; and what could be
// configured better, with the evidence for it and the change that it would take.

import { h, heading, pair, patch, sign, table, workerLink } from "./dom.js";
import { Reading, shown } from "./reading.js";
import { when } from "./time.js";
import { coarse, count, fine, human, micros } from "./words.js";

export function showStrategies(main, _place, _query, life) {
  const found = new Reading(() => "/strategies", life, draw, {
    every: 60_000,
    on: (fact) => fact.what.event === "strategies_changed" || fact.what.event === "attempt_ended",
  });
  draw();

  function draw() {
    patch(
      main,
      heading(
        "Strategies",
        h(
          "p",
          { class: "dim" },
          "Which action helped for which failure, how often and how fast. The order is by what each recovery costs on average, failures included.",
        ),
      ),
      shown(found.found, (all) => (all.length === 0 ? nothingLearned() : byWorker(all))),
    );
  }
}

export const nothingLearned = () =>
  h("p", { class: "dim" }, "Nothing has been learned yet: every recovery that succeeds or fails teaches.");

function byWorker(all) {
  const names = [...new Set(all.map((one) => one.case.worker ?? ""))];
  return names.map((name, nth) =>
    h(
      "section",
      { class: "box", key: `of-${name}`, "aria-labelledby": `of-${nth}` },
      h("h2", { id: `of-${nth}` }, name || "all workers"),
      all.filter((one) => (one.case.worker ?? "") === name).map(strategyBlock),
    ),
  );
}

export function strategyBlock({ case: { condition, pattern }, template, from, ranking, planned }) {
  return h(
    "div",
    { key: `${condition}-${pattern ?? ""}` },
    h("h3", null, pattern ? `${condition} after pattern ${pattern}` : condition),
    template && h("p", null, "its log before: ", h("code", null, template)),
    from &&
      h(
        "p",
        { class: "dim" },
        `a first guess comes from ${from.host} (`,
        when(from.exported),
        `, unitmedic ${from.version})`,
      ),
    h("p", null, ranking.why),
    table(`Actions for ${condition}`, columns(planned, ranking.actions), ranking.actions, (one) => one.action),
  );
}

function columns(planned, all) {
  const percent = (chance) => (chance * 100).toFixed(0);
  const place = (one) => (all.indexOf(one) < planned ? all.indexOf(one) + 1 : "–");
  return [
    { head: "Place", number: true, cell: place },
    { head: "Action", name: true, cell: (one) => h("span", { class: "action" }, one.action) },
    { head: "Helped", cell: helped },
    { head: "Chance", cell: (one) => `${percent(one.chance)} % (${percent(one.low)}–${percent(one.high)})` },
    { head: "Takes", number: true, cell: (one) => (one.successes === 0 ? "–" : fine(micros(one.took))) },
    { head: "Each recovery", number: true, cell: (one) => coarse(micros(one.cost)) },
  ];
}

function helped({ tries, successes, chance }) {
  if (tries === 0) return [sign("plain"), " never tried"];
  return [sign(chance >= 0.5 ? "healthy" : "warning"), ` ${successes} of ${tries}`];
}

const TRUST = { sure: ["warning", "sure"], likely: ["act", "likely"], try: ["plain", "worth a try"] };

export function showAdvice(main, _place, _query, life) {
  const found = new Reading(() => "/advice", life, draw, { every: 120_000 });
  draw();

  function draw() {
    patch(
      main,
      heading(
        "Advice",
        h("p", { class: "dim" }, "Changes of the configuration that the past is for. None of it is in force."),
      ),
      h("section", { class: "box", key: "list", "aria-label": "Proposals" }, shown(found.found, proposalList)),
    );
  }
}

export function proposalList(advice) {
  const { proposals } = advice;
  if (proposals.length === 0) return h("p", { class: "dim" }, "Nothing to change, by ", restsOn(advice), ".");
  return [
    h(
      "p",
      { class: "dim", key: "rests" },
      `${count(proposals.length, "proposal")}, the surest first, by `,
      restsOn(advice),
    ),
    h(
      "ol",
      { class: "steps more", key: "proposals" },
      proposals.map((one) => h("li", { key: `${one.kind}-${one.worker}-${one.title}` }, proposal(one))),
    ),
    proposals.some((one) => one.toml) &&
      h(
        "p",
        { class: "dim more", key: "how" },
        "To use a change: put its lines into a file of ",
        h("code", null, "/etc/unitmedic/conf.d"),
        ", at its top, then ",
        h("code", null, "unitmedic check-config && systemctl reload unitmedic"),
      ),
  ];
}

function restsOn({ incidents, cut, since, until }) {
  const some = count(incidents, "incident");
  return cut ? [`the last ${some}, since `, when(since)] : `${some} in ${human(until - since)}`;
}

function proposal(one) {
  const [kind, word] = TRUST[one.confidence] ?? ["plain", one.confidence];
  return h(
    "div",
    null,
    h(
      "p",
      null,
      h("strong", null, one.title),
      " ",
      sign(kind),
      ` ${word}; `,
      [one.worker, ...(one.others ?? [])].map((name, nth) => [nth > 0 && ", ", workerLink(name)]),
    ),
    h(
      "dl",
      { class: "pairs" },
      pair(
        "Seen",
        one.evidence.map((text) => h("div", null, text)),
      ),
      pair("Gain", one.gain),
    ),
    one.toml && h("pre", { tabindex: "0", "aria-label": "The change" }, h("code", null, one.toml.trimEnd())),
    one.set_at?.length > 0 && h("p", { class: "dim" }, `set now at ${one.set_at.join(", ")}`),
  );
}
