// What people did, newest first, with who and from where.

import { pathWith } from "./api.js";
import { address, h, incidentLink, patch, table, unitLink, workerLink } from "./dom.js";
import { Reading, shown } from "./reading.js";
import { when } from "./time.js";

const PAGE = 50;
const DEEDS = new Set(["paused", "resumed", "requested", "approval_answered", "marked_false", "settings_changed", "strategies_changed"]);

export function show(main, _place, query, life) {
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
    patch(main, h("header", { class: "head" }, h("h1", { tabindex: "-1" }, "Audit"), h("p", { class: "dim" }, "What people did, newest first.")),
      h("section", { class: "box", key: "list", "aria-label": "Audit" }, shown(found.found, (list) => [deeds(list), older(list)])));
  }

  function older(list) {
    const { before, ...newest } = chosen;
    const next = list.length === PAGE && address(["audit"], { ...chosen, before: String(list.at(-1).id) });
    return h("p", { class: "choices" }, before && h("a", { href: address(["audit"], newest) }, "Newest"), next && h("a", { href: next }, "Older"));
  }
}

const deeds = (list) => (list.length === 0 ? h("p", { class: "dim" }, "Nobody has done anything.") : table("What people did, newest first", [
  { head: "When", cell: (one) => when(one.at) },
  { head: "Who", name: true, cell: (one) => one.who },
  { head: "About", cell: about },
  { head: "Incident", number: true, cell: (one) => (typeof one.incident === "number" ? incidentLink(one.incident) : "") },
  { head: "What", wide: true, cell: (one) => one.text },
], list, (one) => one.id));

function about({ worker, unit }) {
  if (worker && unit) return unitLink(worker, unit);
  return worker ? workerLink(worker) : "";
}
