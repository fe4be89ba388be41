// Elements: how they are made and how what stands on the page becomes what it should be. Text reaches the document
// as text alone, never as markup: names, reasons and log lines come from outside.

import { clean, pathWith } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
/** Handlers that live as properties, so that an element that stays can take over those of its successor. */
const HANDLERS = [
  "onclick",
  "oninput",
  "onchange",
  "onsubmit",
  "onkeydown",
  "onpointermove",
  "onpointerleave",
  "ontoggle",
];

/** An element. Properties that begin with `on` are handlers; `false`, `null` and `undefined` leave an attribute away. */
export function h(tag, properties, ...parts) {
  const element = document.createElement(tag);
  equip(element, properties);
  element.append(...nodes(parts));
  return element;
}

/** The same for drawings. */
export function drawn(tag, properties, ...parts) {
  const element = document.createElementNS(SVG, tag);
  equip(element, properties);
  element.append(...nodes(parts));
  return element;
}

function equip(element, properties) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element[name] = value;
    else if (name === "key") element.setAttribute("data-key", String(value));
    else element.setAttribute(name, value === true ? "" : clean(value));
  }
}

function nodes(parts) {
  return parts
    .flat(Infinity)
    .filter((part) => part !== false && part !== null && part !== undefined && part !== "")
    .map((part) => (part instanceof Node ? part : document.createTextNode(clean(part))));
}

/** Makes the children of `parent` what `parts` say, and keeps elements that stay: with them focus, selection, what was
 * typed and what was folded open. */
export function patch(parent, ...parts) {
  const focused = document.activeElement;
  settle(parent, nodes(parts));
  if (focused === document.activeElement || !focused) return;
  // Who was at something that is gone goes on at the heading, not at the beginning of the page.
  const next = focused.isConnected ? focused : document.querySelector("main h1");
  next?.focus({ preventScroll: true });
}

const keyOf = (node) => (node instanceof Element ? node.getAttribute("data-key") : null);

const isSame = (a, b) => a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

function settle(parent, wanted) {
  const keyed = new Map();
  for (const child of parent.children) if (keyOf(child) !== null) keyed.set(keyOf(child), child);
  let at = parent.firstChild;
  for (const node of wanted) {
    const key = keyOf(node);
    const old = key === null ? at : keyed.get(key);
    if (!old || !isSame(old, node)) {
      parent.insertBefore(node, at);
      continue;
    }
    keyed.delete(key);
    if (old === at) at = at.nextSibling;
    else parent.insertBefore(old, at);
    become(old, node);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function become(old, node) {
  if (old === node) return;
  if (!(old instanceof Element)) {
    if (old.data !== node.data) old.data = node.data;
    return;
  }
  const { attributes } = node;
  for (const { name, value } of attributes) {
    if (name !== "style" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  // What was folded open stays so, and styles are set through the object model alone.
  for (const { name } of [...old.attributes]) {
    if (!node.hasAttribute(name) && name !== "open" && name !== "style") old.removeAttribute(name);
  }
  const styled = old;
  if (styled.style && styled.style.cssText !== node.style.cssText) styled.style.cssText = node.style.cssText;
  for (const name of HANDLERS) styled[name] = node[name];
  if (old instanceof HTMLOptionElement && node.selected) old.selected = true;
  settle(old, [...node.childNodes]);
}

/** The shape of a health or a tone; the word stands beside it. */
export const sign = (kind) => h("span", { class: `sign ${kind}`, "aria-hidden": "true" });

export const healthWord = (health, more) => h("span", { class: `health ${health}` }, sign(health), health, more);

/** For those who hear the page. */
export const heard = (text) => h("span", { class: "heard" }, text);

export function address(place, query = {}) {
  return pathWith(`#/${place.map(encodeURIComponent).join("/")}`, query);
}

export const workerLink = (worker) => h("a", { href: address(["worker", worker]) }, worker);
export const incidentLink = (id) => h("a", { class: "number", href: address(["incident", String(id)]) }, `#${id}`);
export const unitLink = (worker, unit) => h("a", { class: "unit", href: address(["worker", worker], { unit }) }, unit);

/** The heading of a view, to which the focus goes. */
export const heading = (title, ...more) =>
  h("header", { class: "head", key: "head" }, h("h1", { tabindex: "-1" }, title), more);

/** The ways to newer and older entries of a list that is read a page at a time; `last` names the last one shown. */
export function paging(place, { before, ...chosen }, isFull, last) {
  return h(
    "p",
    { class: "choices" },
    before && h("a", { href: address([place], chosen) }, "Newest"),
    isFull && h("a", { href: address([place], { ...chosen, before: String(last) }) }, "Older"),
  );
}

/** A part of a view, with its heading. */
export const box = (id, title, ...parts) =>
  h(
    "section",
    { class: "box", key: id, id, "aria-labelledby": `${id}-title` },
    h("h2", { id: `${id}-title` }, title),
    parts,
  );

/** A name and what it stands for, in a list of such. */
export const pair = (name, ...parts) => h("div", { class: "pair" }, h("dt", null, name), h("dd", null, parts));

/** A table that scrolls by itself where it is wider than the page. */
export function table(caption, columns, rows, key) {
  const kind = (column) => [column.number && "n", column.wide && "wide"].filter(Boolean).join(" ");
  const cell = (column, row) =>
    h(column.name ? "th" : "td", { class: kind(column) || null, scope: column.name && "row" }, column.cell(row));
  const heads = columns.map((column) =>
    h("th", { scope: "col", class: kind(column) || null }, column.head || heard("state")),
  );
  return h(
    "div",
    { class: "scrolls", role: "group", "aria-label": caption, tabindex: "0" },
    h(
      "table",
      null,
      h("caption", { class: "heard" }, caption),
      h("thead", null, h("tr", null, heads)),
      h(
        "tbody",
        null,
        rows.map((row) =>
          h(
            "tr",
            { key: key(row) },
            columns.map((column) => cell(column, row)),
          ),
        ),
      ),
    ),
  );
}

/** A button that does something. */
export const button = (text, act, more = {}) => h("button", { type: "button", onclick: act, ...more }, text);
