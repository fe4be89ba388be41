// @ts-check
// The present as the page knows it: the overview, kept true by the stream of events between two readings of it, and
// how well we are connected. Views ask here and are told what changed; nothing here touches the document.

import { Trouble, read } from "./api.js";
import { Stream } from "./events.js";
import { hear } from "./time.js";
import { count, isSick, serves } from "./words.js";

/** Between two readings of the overview, after events. */
const GAP_MS = 2000;
/** Without events; at random within a fifth, so that many pages do not ask together. */
const IDLE_MS = 15_000;
/** Events that are kept for the feed. */
export const EVENTS_KEPT = 50;
/** Changes of health that are newer than a reading of the overview that is still on its way. */
const LATE_KEPT = 2000;

/** @typedef {import("./facts.js").Fact} Fact */

export const present = {
  /** @type {any} The last overview, with what events have said since. */
  overview: null,
  /** When we last heard of the host, milliseconds of our clock. */
  heardAt: 0,
  /** @type {"loading" | "live" | "lost" | "closed"} `closed`: reading needs a sign-in. */
  connection: "loading",
  /** @type {Trouble | null} */
  trouble: null,
  /** @type {Fact[]} Newest first. */
  events: [],
};

/** What can be listened to: the overview was read; workers changed by events; facts came; the connection changed. */
/** @type {{read: Set<Function>, workers: Set<Function>, facts: Set<Function>, connection: Set<Function>}} */
const listeners = { read: new Set(), workers: new Set(), facts: new Set(), connection: new Set() };

/** @param {"read" | "workers" | "facts" | "connection"} topic @param {(news?: any) => void} call @param {AbortSignal} [life] */
export function listen(topic, call, life) {
  listeners[topic].add(call);
  life?.addEventListener("abort", () => listeners[topic].delete(call), { once: true });
}

/** @param {"read" | "workers" | "facts" | "connection"} topic @param {any} [news] */
const tell = (topic, news) => listeners[topic].forEach((call) => call(news));

/** @type {Fact[]} */
let late = [];
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
let timerDue = Infinity;
let lastRead = 0;
let isReading = false;

const stream = new Stream({
  onEvents: (events) => take(events),
  onOpen: () => connected("live", null),
  onLost: (trouble) => lost(trouble),
});

/** @param {"loading" | "live" | "lost" | "closed"} state @param {Trouble | null} trouble */
function connected(state, trouble) {
  if (state === "live") present.heardAt = Date.now();
  const isNew = present.connection !== state;
  present.connection = state;
  present.trouble = trouble;
  if (isNew) tell("connection");
  if (isNew && state === "live" && present.overview) refreshSoon();
}

/** @param {Trouble} trouble */
function lost(trouble) {
  if (trouble.status === 401) {
    stream.close();
    connected("closed", trouble);
  } else {
    connected("lost", trouble);
  }
}

/** Reads the overview and follows the events from there; also after a sign-in. */
export async function begin() {
  stream.close();
  await readOverview();
  if (!present.overview) return;
  stream.open(present.overview.last_event);
}

async function readOverview() {
  if (isReading) return;
  isReading = true;
  clearTimeout(timer);
  timerDue = Infinity;
  try {
    const overview = await read("/overview");
    lastRead = Date.now();
    adopt(overview);
  } catch (error) {
    failed(error instanceof Trouble ? error : new Trouble(0, "the daemon does not answer"));
  } finally {
    isReading = false;
  }
}

/** @param {Trouble} trouble */
function failed(trouble) {
  lastRead = Date.now();
  if (trouble.status === 401) return connected("closed", trouble);
  if (!present.overview) {
    present.trouble = trouble;
    present.connection = "lost";
    tell("connection");
    setTimeout(begin, 1000 * (trouble.retryAfter ?? 1) * (0.8 + 0.4 * Math.random()));
    return;
  }
  // The stream says whether we are connected; a reading that failed is tried again.
  schedule(GAP_MS);
}

/** `RUN-SEQ`. @param {string} id */
function position(id) {
  const dash = id.lastIndexOf("-");
  return { run: id.slice(0, dash), seq: Number(id.slice(dash + 1)) };
}

/** @param {any} overview */
function adopt(overview) {
  present.overview = overview;
  present.heardAt = Date.now();
  hear(overview.at);
  // What events said after the overview was written is truer than it.
  const { seq } = position(overview.last_event);
  late = late.filter((fact) => fact.seq > seq);
  late.forEach(apply);
  if (present.connection === "loading") connected("live", null);
  tell("read");
  schedule(IDLE_MS * (0.8 + 0.4 * Math.random()));
}

/** @param {number} ms */
function schedule(ms) {
  const due = Date.now() + ms;
  if (due >= timerDue) return;
  clearTimeout(timer);
  timerDue = due;
  timer = setTimeout(() => {
    timerDue = Infinity;
    if (document.hidden || present.connection === "closed") return;
    readOverview();
  }, ms);
}

/** The overview is read anew, soon and not too often. */
export const refreshSoon = () => schedule(Math.max(100, GAP_MS - (Date.now() - lastRead)));

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && present.overview) refreshSoon();
});

/** @param {import("./events.js").Event[]} events */
function take(events) {
  present.heardAt = Date.now();
  if (events.some((event) => event.name === "reset")) {
    late = [];
    refreshSoon();
  }
  const facts = events.map(factOf).filter((fact) => fact !== null);
  if (facts.length === 0) return;
  late = late.concat(facts).slice(-LATE_KEPT);
  const touched = new Set(facts.map(apply).filter(Boolean));
  present.events = [...facts].reverse().concat(present.events).slice(0, EVENTS_KEPT);
  if (touched.size > 0) tell("workers", touched);
  tell("facts", facts);
  refreshSoon();
}

/** @param {import("./events.js").Event} event @returns {Fact | null} */
function factOf(event) {
  if (event.name === "reset") return null;
  try {
    const fact = JSON.parse(event.data);
    return fact?.what ? fact : null;
  } catch {
    return null;
  }
}

/** Brings the overview up to the fact; the worker that it changed, if any. @param {Fact} fact */
function apply(fact) {
  const worker = present.overview?.workers.find((/** @type {any} */ one) => one.worker === fact.worker);
  if (!worker) return null;
  const { what } = fact;
  const instance = worker.instances.find((/** @type {any} */ one) => one.unit === fact.unit);
  switch (what.event) {
    case "worker_health_changed":
      Object.assign(worker, { health: what.to, serving: what.serving });
      return worker.worker;
    case "health_changed":
      if (!instance) return null;
      Object.assign(instance, { health: what.to, because: what.because });
      recount(worker);
      return worker.worker;
    case "incident_opened":
    case "incident_reopened":
      return opened(instance, fact.incident) && worker.worker;
    case "incident_closed":
      return closed(instance, fact.incident) && worker.worker;
    case "instance_appeared":
      if (!instance && fact.unit) worker.instances.push({ unit: fact.unit, health: what.health });
      recount(worker);
      return worker.worker;
    case "instance_vanished":
      worker.instances = worker.instances.filter((/** @type {any} */ one) => one !== instance);
      recount(worker);
      return worker.worker;
    default:
      return null;
  }
}

/** @param {any} instance @param {number | undefined} incident */
function opened(instance, incident) {
  if (!instance || instance.incident === incident) return false;
  instance.incident = incident;
  present.overview.open_incidents += 1;
  return true;
}

/** @param {any} instance @param {number | undefined} incident */
function closed(instance, incident) {
  if (!instance || instance.incident !== incident) return false;
  delete instance.incident;
  delete instance.doing;
  present.overview.open_incidents = Math.max(0, present.overview.open_incidents - 1);
  return true;
}

/** @param {any} worker */
function recount(worker) {
  const healths = worker.instances.map((/** @type {any} */ one) => one.health);
  worker.serving = healths.filter(serves).length;
  worker.healthy = healths.filter((/** @type {string} */ health) => health === "healthy").length;
}

/** @returns {any[]} */
const instances = () => present.overview.workers.flatMap((/** @type {any} */ worker) => worker.instances);

/** Instances by health, as events have left them. @returns {Record<string, number>} */
export function healthCounts() {
  /** @type {Record<string, number>} */
  const counts = {};
  for (const { health } of instances()) counts[health] = (counts[health] ?? 0) + 1;
  return counts;
}

export const sickCount = () => (present.overview ? instances().filter((one) => isSick(one.health)).length : 0);

/** The state of the host in the words of `unitmedic status`: its sign, the state, and what it is of. */
export function summary() {
  const { overview } = present;
  const sick = sickCount();
  const open = count(overview.open_incidents, "open incident");
  const of = `${count(overview.workers.length, "worker")}, ${count(instances().length, "instance")}`;
  if (!overview.ready) return { tone: "dead", state: "not ready", of };
  if (sick > 0) return { tone: "dead", state: `${sick} sick, ${open}`, of };
  if (overview.open_incidents > 0) return { tone: "warning", state: `none sick, ${open}`, of };
  const less = lessThanWell();
  return less ? { tone: "warning", state: `none sick, ${less}`, of } : { tone: "healthy", state: "all well", of };
}

/** What is not sick and has no incident may still be worth a look. */
function lessThanWell() {
  const counts = healthCounts();
  const empty = (/** @type {string} */ health) =>
    present.overview.workers.filter((/** @type {any} */ one) => one.health === health && one.instances.length === 0).length;
  const parts = ["warning", "unknown"].map((health) => ({ health, n: (counts[health] ?? 0) + empty(health) }));
  return parts.filter(({ n }) => n > 0).map(({ health, n }) => `${n} ${health}`).join(", ");
}

/** @param {string} name */
export const glance = (name) => present.overview?.workers.find((/** @type {any} */ one) => one.worker === name);
