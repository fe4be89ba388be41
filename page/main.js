// Where the page begins: it reads the address, opens the view that it names, and shows how well we are connected.

import { Trouble, isSignedIn, learnMe, me, onMe, signOut } from "./api.js";
import { h, patch } from "./dom.js";
import * as overview from "./overview.js";
import { begin, listen, present, sickCount, summary } from "./present.js";
import { say, saySoon } from "./say.js";
import { askWho } from "./signin.js";
import { startClock } from "./time.js";
import { clock } from "./words.js";

/** A connection that is back within this was never lost to a reader. */
const LOSS_SHOWN_MS = 1000;
/** What was read is painted first. */
const FETCH_AFTER_MS = 500;

/** The views by the first word of the address; all but the first are fetched when that is shown, or when they are opened. */
const VIEWS = {
  "": { title: "Overview", module: async () => overview },
  worker: { title: "Worker", module: () => import("./worker.js") },
  incident: { title: "Incident", module: () => import("./incident.js") },
  incidents: { title: "Incidents", module: () => import("./incidents.js") },
  history: { title: "History", module: () => import("./history.js") },
  strategies: { title: "Strategies", module: () => import("./learned.js"), show: "showStrategies" },
  advice: { title: "Advice", module: () => import("./learned.js"), show: "showAdvice" },
  alerts: { title: "Alerts", module: () => import("./alerts.js") },
  audit: { title: "Audit", module: () => import("./history.js"), show: "showAudit" },
  configuration: { title: "Configuration", module: () => import("./configuration.js") },
};

const main = document.getElementById("main");
const element = (id) => document.getElementById(id);

/** The view that is open. */
const open = { key: "", title: "", life: new AbortController(), update: undefined };

/** `#/worker/mail?unit=mail@1.service`. */
function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const place = path.split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { place, query: Object.fromEntries(new URLSearchParams(query)) };
}

async function go(isFirst) {
  const { place, query } = route();
  const key = JSON.stringify(place);
  if (key === open.key && open.update) return open.update(query);
  open.life.abort(new DOMException("the view was left", "AbortError"));
  const life = new AbortController();
  const view = Object.hasOwn(VIEWS, place[0]) ? VIEWS[place[0]] : VIEWS[""];
  Object.assign(open, {
    key,
    life,
    update: undefined,
    title: place[1] ? `${view.title} ${place[0] === "incident" ? "#" : ""}${place[1]}` : view.title,
  });
  markNavigation(place[0]);
  title();
  try {
    const show = (await view.module())[view.show ?? "show"];
    if (life.signal.aborted) return undefined;
    main.replaceChildren();
    main.className = `view-${place[0] || "overview"}`;
    open.update = show(main, place, query, life.signal);
  } catch {
    if (!life.signal.aborted) cannotShow();
    return undefined;
  }
  if (!isFirst) arrive();
  return undefined;
}

/** Then a page whose daemon is away shows every view with what it knows, and all are of one version of the program. */
function fetchViews() {
  for (const { module } of Object.values(VIEWS)) module().catch(() => undefined);
}

function cannotShow() {
  open.key = "";
  const again = h("button", { type: "button", onclick: () => location.reload() }, "Load the page anew");
  patch(
    main,
    h("h1", { tabindex: "-1" }, open.title),
    h("p", { class: "trouble" }, "This part of the page could not be fetched: the daemon does not answer."),
    again,
  );
}

/** After a change of view the reader is at its heading. */
function arrive() {
  scrollTo(0, 0);
  main.querySelector("h1")?.focus({ preventScroll: true });
  element("menu").setAttribute("aria-expanded", "false");
}

function markNavigation(name) {
  const shown = { worker: "", incident: "incidents" }[name] ?? name;
  for (const link of element("navigation").querySelectorAll("a")) {
    if (link.getAttribute("href") === `#/${shown}`) link.setAttribute("aria-current", name === shown ? "page" : "true");
    else link.removeAttribute("aria-current");
  }
}

function title() {
  const sick = sickCount();
  const host = present.overview?.host ?? "";
  const name = open.title === "Overview" ? "unitmedic" : `${open.title} · unitmedic`;
  // What is not live does not look as if it were, in a row of tabs neither.
  const known = present.connection === "live" ? "" : ` at ${clock(present.heardAt * 1000).slice(0, 5)}`;
  document.title = `${sick > 0 ? `(${sick} sick${known}) ` : ""}${name}${host && ` · ${host}`}`;
}

let lastState = "";

/** What changed of the host, in short, for those who hear the page. */
function tellState() {
  title();
  if (!present.overview) return;
  element("host").textContent = present.overview.host;
  const { state } = summary();
  if (lastState && state !== lastState) saySoon(state);
  lastState = state;
}

let lossTimer;

function tellConnection() {
  const { connection } = present;
  clearTimeout(lossTimer);
  title();
  if (connection === "lost") {
    lossTimer = setTimeout(showLoss, present.overview ? LOSS_SHOWN_MS : 0);
    return;
  }
  document.body.classList.remove("stale");
  element("connection").textContent = {
    loading: "connecting",
    live: "live",
    closed: "signed out",
    asleep: "asleep",
    lost: "",
  }[connection];
  element("connection").className = `connection ${connection}`;
  if (connection === "live" && element("loss").textContent) say("connected again");
  patch(element("loss"), connection === "closed" && closed());
}

function showLoss() {
  document.body.classList.add("stale");
  element("connection").textContent = "not live";
  element("connection").className = "connection lost";
  const { overview, trouble, heardAt } = present;
  const words = overview
    ? `connection lost, showing what was known at ${clock(heardAt * 1000).slice(0, 8)}, trying again`
    : `${trouble?.words ?? "the daemon does not answer"}, trying again`;
  patch(element("loss"), h("p", { class: "loss" }, words));
}

/** Reading needs a sign-in. */
function closed() {
  const enter = () => askWho("Reading needs a sign-in here.");
  return h(
    "p",
    { class: "loss" },
    "Reading needs a sign-in here. ",
    h("button", { type: "button", onclick: enter }, "Sign in"),
  );
}

function tellMe() {
  const enter = () => askWho("Who are you?");
  patch(
    element("me"),
    me.name && h("span", { class: "who", title: `role ${me.role}` }, me.name),
    isSignedIn()
      ? h("button", { type: "button", onclick: signOut, key: "out" }, "Sign out")
      : me.can_sign_in && h("button", { type: "button", onclick: enter, key: "in" }, "Sign in"),
  );
}

/** Who asks is known once the daemon answers. */
async function meet() {
  try {
    await learnMe();
  } catch (error) {
    if (error instanceof Trouble && error.status === 401) return;
    setTimeout(meet, 3000);
  }
}

function start() {
  const menu = element("menu");
  menu.addEventListener("click", () =>
    menu.setAttribute("aria-expanded", String(menu.getAttribute("aria-expanded") !== "true")),
  );
  // The address of the page is that of the view: a jump to an element of the page would leave it.
  element("skip").addEventListener("click", (event) => {
    event.preventDefault();
    (main.querySelector("h1") ?? main).focus();
  });
  addEventListener("hashchange", () => go(false));
  listen("read", tellState);
  const shown = new AbortController();
  listen("read", () => shown.abort() || setTimeout(fetchViews, FETCH_AFTER_MS), shown.signal);
  listen("workers", tellState);
  listen("facts", tellState);
  listen("connection", tellConnection);
  onMe(tellMe);
  startClock();
  begin();
  meet();
  go(true);
}

start();
