// The settings in force, each with where it was set; secrets are masked by the daemon.

import { onMe } from "./api.js";
import { deed, needed, reload } from "./deeds.js";
import { h, heading, patch, table } from "./dom.js";
import { Reading, shown } from "./reading.js";

export function show(main, _place, _query, life) {
  const found = new Reading(() => "/configuration", life, draw, {
    every: 60_000,
    on: (fact) => fact.what.event === "settings_changed",
  });
  let needle = "";
  let isSet = false;
  onMe(draw, life);
  draw();

  function draw() {
    const type = (event) => {
      needle = event.target.value.trim().toLowerCase();
      draw();
    };
    const tick = (event) => {
      isSet = event.target.checked;
      draw();
    };
    patch(
      main,
      heading(
        "Configuration",
        h("div", { class: "deeds" }, deed("Reload …", "systemctl reload unitmedic", reload)),
        needed(),
      ),
      h(
        "div",
        { class: "filters", key: "filters" },
        h("input", { type: "search", "aria-label": "Filter by key", placeholder: "filter by key", oninput: type }),
        h("label", null, h("input", { type: "checkbox", onchange: tick }), "only what is set"),
      ),
      shown(found.found, tables),
    );
  }

  function tables(all) {
    const wanted = (one, name) =>
      `${name}.${one.key}`.toLowerCase().includes(needle) && (!isSet || one.origin !== "default");
    const left = all
      .map(({ table: name, keys }) => ({ name, keys: keys.filter((one) => wanted(one, name)) }))
      .filter(({ keys }) => keys.length > 0);
    return left.length === 0 ? h("p", { class: "dim" }, "No key has this name.") : left.map(oneTable);
  }
}

/** What stands between backticks is code. */
const spans = (text) => text.split("`").map((part, nth) => (nth % 2 === 1 ? h("code", null, part) : part));

const oneTable = ({ name, keys }, nth) =>
  h(
    "section",
    { class: "box", key: `table-${name}`, "aria-labelledby": `table-${nth}` },
    h("h2", { id: `table-${nth}` }, h("code", null, name ? `[${name}]` : "at the top")),
    table(
      name || "at the top",
      [
        { head: "Key", name: true, cell: (one) => h("code", null, one.key) },
        { head: "Value", wide: true, cell: (one) => h("code", null, one.value) },
        { head: "Where", cell: (one) => h("span", { class: "dim" }, one.origin) },
        { head: "What it is", wide: true, cell: (one) => spans(one.doc) },
      ],
      keys,
      (one) => one.key,
    ),
  );
