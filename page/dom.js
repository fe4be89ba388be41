// @ts-check
// Elements: how they are made and how what stands on the page becomes what it should be. Text reaches the document
// as text alone, never as markup: names, reasons and log lines come from outside.

import { clean } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
/** Handlers that live as properties, so that an element that stays can take over those of its successor. */
const HANDLERS = ["onclick", "oninput", "onchange", "onsubmit", "onkeydown", "onpointermove", "onpointerleave", "ontoggle"];

/** @typedef {Node | string | number | false | null | undefined} Piece */
/** @typedef {Piece | Part[]} Part */

/** An element. Properties that begin with `on` are handlers; `false`, `null` and `undefined` leave an attribute away.
 * @param {string} tag @param {Record<string, any> | null} [properties] @param {...Part} parts
 * @returns {any} */
export function h(tag, properties, ...parts) {
  const element = document.createElement(tag);
  equip(element, properties);
  element.append(...nodes(parts));
  return element;
}

/** The same for drawings.
 * @param {string} tag @param {Record<string, any> | null} [properties] @param {...Part} parts
 * @returns {any} */
export function drawn(tag, properties, ...parts) {
  const element = document.createElementNS(SVG, tag);
  equip(element, properties);
  element.append(...nodes(parts));
  return element;
}

/** @param {Element} element @param {Record<string, any> | null} [properties] */
function equip(element, properties) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) /** @type {any} */ (element)[name] = value;
    else if (name === "key") element.setAttribute("data-key", String(value));
    else element.setAttribute(name, value === true ? "" : clean(value));
  }
}

/** @param {Part[]} parts @returns {Node[]} */
function nodes(parts) {
  return /** @type {Piece[]} */ (parts.flat(Infinity))
    .filter((part) => part !== false && part !== null && part !== undefined && part !== "")
    .map((part) => (part instanceof Node ? part : document.createTextNode(clean(part))));
}

/** Makes the children of `parent` what `parts` say, and keeps elements that stay: with them focus, selection, what was
 * typed and what was folded open. An element with `data-own` looks after its children itself.
 * @param {Element} parent @param {...Part} parts */
export function patch(parent, ...parts) {
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  settle(parent, nodes(parts));
  if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

/** @param {Node} node */
const keyOf = (node) => (node instanceof Element ? node.getAttribute("data-key") : null);

/** @param {Node} a @param {Node} b */
const isSame = (a, b) => a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

/** @param {Element} parent @param {Node[]} wanted */
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

/** @param {any} old @param {any} node */
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
  const styled = /** @type {any} */ (old);
  if (styled.style && styled.style.cssText !== node.style.cssText) styled.style.cssText = node.style.cssText;
  for (const name of HANDLERS) styled[name] = node[name];
  if (!old.hasAttribute("data-own")) settle(old, [...node.childNodes]);
}

/** The shape of a health or a tone; the word stands beside it. @param {string} kind */
export const sign = (kind) => h("span", { class: `sign ${kind}`, "aria-hidden": "true" });

/** @param {string} health @param {Part} [more] */
export const healthWord = (health, more) => h("span", { class: `health ${health}` }, sign(health), health, more);

/** For those who hear the page. @param {string} text */
export const heard = (text) => h("span", { class: "heard" }, text);

/** @param {string[]} place @param {Record<string, string>} [query] */
export function address(place, query = {}) {
  const more = new URLSearchParams(query).toString();
  return `#/${place.map(encodeURIComponent).join("/")}${more && `?${more}`}`;
}

/** @param {string} worker */
export const workerLink = (worker) => h("a", { href: address(["worker", worker]) }, worker);
/** @param {number} id */
export const incidentLink = (id) => h("a", { class: "number", href: address(["incident", String(id)]) }, `#${id}`);
/** @param {string} worker @param {string} unit */
export const unitLink = (worker, unit) => h("a", { class: "unit", href: address(["worker", worker], { unit }) }, unit);

/** A column: its heading, what stands in a row, and whether it is a number.
 * @typedef {{head: string, cell: (row: any) => Part, number?: boolean, wide?: boolean, name?: boolean}} Column */

/** A table that scrolls by itself where it is wider than the page.
 * @param {string} caption @param {Column[]} columns @param {any[]} rows @param {(row: any) => string | number} key */
export function table(caption, columns, rows, key) {
  const kind = (/** @type {Column} */ column) => [column.number && "n", column.wide && "wide"].filter(Boolean).join(" ");
  const cell = (/** @type {Column} */ column, /** @type {any} */ row) =>
    h(column.name ? "th" : "td", { class: kind(column) || null, scope: column.name && "row" }, column.cell(row));
  const heads = columns.map((column) => h("th", { scope: "col", class: kind(column) || null }, column.head || heard("state")));
  return h("div", { class: "scrolls", role: "region", "aria-label": caption, tabindex: "0" },
    h("table", null,
      h("caption", { class: "heard" }, caption),
      h("thead", null, h("tr", null, heads)),
      h("tbody", null, rows.map((row) => h("tr", { key: key(row) }, columns.map((column) => cell(column, row)))))));
}

/** A button that does something. @param {string} text @param {() => void} act @param {Record<string, any>} [more] */
export const button = (text, act, more = {}) => h("button", { type: "button", onclick: act, ...more }, text);
