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
/** A page that nobody has looked at for so long gives up its stream: a browser holds six connections to a host, and the
 * daemon not many more. */
const ASLEEP_AFTER_MS = 60_000;
/** Events that are kept for the feed, and as many of those before the page was opened are asked for. */
const EVENTS_KEPT = 50;
/** Changes of health that are newer than a reading of the overview that is still on its way. */
const LATE_KEPT = 2000;

export const present = {
  overview: null,
  /** When we last heard of the host, milliseconds of our clock. */
  heardAt: 0,
  connection: "loading",
  trouble: null,
  events: [],
};

/** What can be listened to: the overview was read; workers changed by events; facts came; the connection changed. */
const listeners = { read: new Set(), workers: new Set(), facts: new Set(), connection: new Set() };

export function listen(topic, call, life) {
  listeners[topic].add(call);
  life?.addEventListener("abort", () => listeners[topic].delete(call), { once: true });
}

const tell = (topic, news) => listeners[topic].forEach((call) => call(news));

/** The last event before the page began: what comes up to it is for the feed alone. */
let begun = { run: "", seq: 0 };
let late = [];
let timer;
let timerDue = Infinity;
let lastRead = 0;
let isReading = false;

const stream = new Stream({
  onEvents: (events) => take(events),
  onOpen: () => connected("live", null),
  onLost: (trouble) => lost(trouble),
});

function connected(state, trouble) {
  if (state === "live") present.heardAt = Date.now();
  const isNew = present.connection !== state;
  present.connection = state;
  present.trouble = trouble;
  if (isNew) tell("connection");
  if (isNew && state === "live" && present.overview) refreshSoon();
}

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
  present.events = [];
  await readOverview();
  if (!present.overview) return;
  begun = position(present.overview.last_event);
  stream.last = `${begun.run}-${Math.max(0, begun.seq - EVENTS_KEPT)}`;
  // One that was opened behind another waits until it is looked at.
  if (document.hidden) connected("asleep", null);
  else stream.open(stream.last);
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

/** `RUN-SEQ`. */
function position(id) {
  const dash = id.lastIndexOf("-");
  return { run: id.slice(0, dash), seq: Number(id.slice(dash + 1)) };
}

function adopt(overview) {
  present.overview = overview;
  present.heardAt = Date.now();
  hear(overview.at);
  // What events said after the overview was written is truer than it.
  const { run, seq } = position(overview.last_event);
  late = late.filter((fact) => fact.run === run && fact.seq > seq);
  late.forEach(apply);
  tell("read");
  schedule(IDLE_MS * (0.8 + 0.4 * Math.random()));
}

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

let sleepTimer;

function fallAsleep() {
  if (present.connection === "closed") return;
  stream.close();
  connected("asleep", null);
}

function wake() {
  clearTimeout(sleepTimer);
  if (!present.overview) return;
  if (present.connection === "asleep" || present.connection === "lost") {
    stream.close();
    stream.open(stream.last);
  }
  refreshSoon();
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) wake();
  else sleepTimer = setTimeout(fallAsleep, ASLEEP_AFTER_MS);
});
// A page that the browser keeps for the way back holds no connection.
addEventListener("pagehide", fallAsleep);
addEventListener("online", wake);
addEventListener("pageshow", (event) => event.persisted && wake());

function take(events) {
  present.heardAt = Date.now();
  if (events.some((event) => event.name === "reset")) {
    late = [];
    refreshSoon();
  }
  const heard = events.map(factOf).filter((fact) => fact !== null);
  if (heard.length === 0) return;
  present.events = [...heard].reverse().concat(present.events).slice(0, EVENTS_KEPT);
  const facts = heard.filter((fact) => fact.run !== begun.run || fact.seq > begun.seq);
  late = late.concat(facts).slice(-LATE_KEPT);
  const touched = new Set(facts.map(apply).filter(Boolean));
  if (touched.size > 0) tell("workers", touched);
  tell("facts", facts);
  if (facts.length > 0) refreshSoon();
}

function factOf(event) {
  if (event.name === "reset") return null;
  try {
    const fact = JSON.parse(event.data);
    return fact?.what ? { ...fact, run: position(event.id ?? "").run } : null;
  } catch {
    return null;
  }
}

/** Brings the overview up to the fact; the worker that it changed, if any. */
function apply(fact) {
  const worker = present.overview?.workers.find((one) => one.worker === fact.worker);
  if (!worker) return null;
  const { what } = fact;
  const instance = worker.instances.find((one) => one.unit === fact.unit);
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
      worker.instances = worker.instances.filter((one) => one !== instance);
      recount(worker);
      return worker.worker;
    default:
      return null;
  }
}

function opened(instance, incident) {
  if (!instance || instance.incident === incident) return false;
  instance.incident = incident;
  present.overview.open_incidents += 1;
  return true;
}

function closed(instance, incident) {
  if (!instance || instance.incident !== incident) return false;
  delete instance.incident;
  delete instance.doing;
  present.overview.open_incidents = Math.max(0, present.overview.open_incidents - 1);
  return true;
}

function recount(worker) {
  const healths = worker.instances.map((one) => one.health);
  worker.serving = healths.filter(serves).length;
  worker.healthy = healths.filter((health) => health === "healthy").length;
}

const instances = () => present.overview.workers.flatMap((worker) => worker.instances);

/** Instances by health, as events have left them. */
export function healthCounts() {
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
  const empty = (health) =>
    present.overview.workers.filter((one) => one.health === health && one.instances.length === 0).length;
  const parts = ["warning", "unknown"].map((health) => ({ health, n: (counts[health] ?? 0) + empty(health) }));
  return parts
    .filter(({ n }) => n > 0)
    .map(({ health, n }) => `${n} ${health}`)
    .join(", ");
}

export const glance = (name) => present.overview?.workers.find((one) => one.worker === name);
