// What has been learned: which action helped for which failure, and why it is tried in this order.

import { onMe } from "./api.js";
import { deed, forget } from "./deeds.js";
import { h, patch, sign, table } from "./dom.js";
import { Reading, shown } from "./reading.js";
import { when } from "./time.js";
import { coarse, fine, micros } from "./words.js";

export function show(main, _place, _query, life) {
  const found = new Reading(() => "/strategies", life, draw, { every: 60_000, on: (fact) => fact.what.event === "strategies_changed" || fact.what.event === "attempt_ended" });
  onMe(draw, life);
  draw();

  function draw() {
    patch(main, h("header", { class: "head" }, h("h1", { tabindex: "-1" }, "Strategies"),
      h("p", { class: "dim" }, "Which action helped for which failure, how often and how fast. The order is by what each recovery costs on average, failures included.")),
    shown(found.found, (all) => (all.length === 0 ? h("p", null, "Nothing has been learned yet: every recovery that succeeds or fails teaches.") : byWorker(all))));
  }
}

function byWorker(all) {
  const names = [...new Set(all.map((one) => one.case.worker ?? ""))];
  return names.map((name, nth) => h("section", { class: "box", key: `of-${name}`, "aria-labelledby": `of-${nth}` },
    h("h2", { id: `of-${nth}` }, name || "all workers"),
    all.filter((one) => (one.case.worker ?? "") === name).map(strategyBlock),
    name && h("p", { class: "more" }, deed("Forget …", `unitmedic strategies forget ${name}`, () => forget(name), { class: "small" }))));
}

export function strategyBlock({ case: { condition, pattern }, template, from, ranking, planned }) {
  return h("div", { key: `${condition}-${pattern ?? ""}` },
    h("h3", null, pattern ? `${condition} after pattern ${pattern}` : condition),
    template && h("p", null, "its log before: ", h("code", null, template)),
    from && h("p", { class: "dim" }, `a first guess comes from ${from.host} (`, when(from.exported), `, unitmedic ${from.version})`),
    h("p", null, ranking.why),
    table(`Actions for ${condition}`, columns(planned, ranking.actions), ranking.actions, (one) => one.action));
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
