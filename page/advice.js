// What could be configured better, with the evidence for it and the change that it would take.

import { h, pair, patch, sign, workerLink } from "./dom.js";
import { Reading, shown } from "./reading.js";
import { when } from "./time.js";
import { count, human } from "./words.js";

const TRUST = { sure: ["warning", "sure"], likely: ["act", "likely"], try: ["plain", "worth a try"] };

export function show(main, _place, _query, life) {
  const found = new Reading(() => "/advice", life, draw, { every: 120_000 });
  draw();

  function draw() {
    patch(main, h("header", { class: "head" }, h("h1", { tabindex: "-1" }, "Advice"),
      h("p", { class: "dim" }, "Changes of the configuration that the past is for. None of it is in force.")),
    shown(found.found, proposalList));
  }
}

export function proposalList(advice) {
  const { proposals } = advice;
  if (proposals.length === 0) return h("p", { class: "dim" }, "Nothing to change, by ", restsOn(advice), ".");
  return [
    h("p", { class: "dim", key: "rests" }, `${count(proposals.length, "proposal")}, the surest first, by `, restsOn(advice)),
    h("ol", { class: "steps more", key: "proposals" }, proposals.map((one) => h("li", { key: `${one.kind}-${one.worker}-${one.title}` }, proposal(one)))),
    proposals.some((one) => one.toml) && h("p", { class: "dim more", key: "how" }, "To use a change: put its lines into a file of ",
      h("code", null, "/etc/unitmedic/conf.d"), ", at its top, then ", h("code", null, "unitmedic check-config && systemctl reload unitmedic")),
  ];
}

function restsOn({ incidents, cut, since, until }) {
  const some = count(incidents, "incident");
  return cut ? [`the last ${some}, since `, when(since)] : `${some} in ${human(until - since)}`;
}

function proposal(one) {
  const [kind, word] = TRUST[one.confidence] ?? ["plain", one.confidence];
  return h("div", null,
    h("p", null, h("strong", null, one.title), " ", sign(kind), ` ${word}; `, [one.worker, ...(one.others ?? [])].map((name, nth) => [nth > 0 && ", ", workerLink(name)])),
    h("dl", { class: "pairs" }, pair("Seen", one.evidence.map((text) => h("div", null, text))), pair("Gain", one.gain)),
    one.toml && h("pre", { tabindex: "0", "aria-label": "The change" }, h("code", null, one.toml.trimEnd())),
    one.set_at?.length > 0 && h("p", { class: "dim" }, `set now at ${one.set_at.join(", ")}`));
}
