// Requests to the daemon that served this page, and who asks. What a user signs in with is kept in this module's
// memory and nowhere else: a reload forgets it.

const BASE = "/api/v1";
/** The daemon answers in milliseconds; one that takes longer than this is not there. */
const PATIENCE_MS = 10_000;

let authorization = null;

/** A request that was not answered as wished. `status` 0: no answer at all. */
export class Trouble extends Error {
  constructor(status, detail, reply, retryAfter) {
    super(detail);
    this.status = status;
    this.reply = reply;
    this.retryAfter = retryAfter;
  }

  /** In words, for the place where the answer should stand. */
  get words() {
    if (this.status === 0) return "the daemon does not answer";
    if (this.status === 401) return "reading needs a sign-in";
    if (this.retryAfter) return "busy";
    if (this.status === 403) return `not allowed: ${this.message}`;
    return this.message;
  }
}

/** Headers of every request. The browser's own memory of passwords is not used (`credentials: "omit"`), so that nobody
 * else's page can borrow it, and so that it never asks in our stead. */
const headers = (more = {}, as = authorization) => (as ? { ...more, Authorization: as } : more);

async function send(path, options) {
  const asked = path === "/overview" && authorization === null ? window.firstOverview : undefined;
  if (asked) window.firstOverview = undefined;
  try {
    return (await asked) ?? (await fetch(BASE + path, { cache: "no-store", credentials: "omit", ...options }));
  } catch (error) {
    if (options.signal?.aborted && options.signal.reason?.name === "AbortError") throw error;
    throw new Trouble(0, "the daemon does not answer");
  }
}

async function troubleOf(response) {
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // No problem document: the status alone must do.
  }
  const detail = problem.detail || problem.title || `the daemon answered ${response.status}`;
  return new Trouble(response.status, detail, problem.reply, Number(response.headers.get("Retry-After")) || undefined);
}

export async function read(path, life, as) {
  const limit = AbortSignal.timeout(PATIENCE_MS);
  const signal = life ? AbortSignal.any([life, limit]) : limit;
  const response = await send(path, { headers: headers({ Accept: "application/json" }, as), signal });
  if (!response.ok) throw await troubleOf(response);
  return response.json();
}

/** Asks for a deed; the answer is a reply, whatever it says. */
export async function ask(wish) {
  const response = await send("/requests", {
    method: "POST",
    headers: headers({ "Content-Type": "application/json", Accept: "application/json" }),
    body: JSON.stringify(wish),
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (response.ok) return response.json();
  const trouble = await troubleOf(response);
  if (trouble.reply) return trouble.reply;
  throw trouble;
}

/** The stream of events from after `last`. */
export async function openEvents(last, signal) {
  const more = { Accept: "text/event-stream", "Last-Event-ID": last };
  const response = await send("/events", { headers: headers(more), signal });
  if (!response.ok || !response.body) throw await troubleOf(response);
  return response.body;
}

/** Who asks, as the daemon sees it. */
export let me = { name: null, role: "anonymous", via: "none", can_act: false, can_sign_in: false };
const watchers = new Set();

/** Calls when who asks has changed. */
export function onMe(call, life) {
  watchers.add(call);
  life?.addEventListener("abort", () => watchers.delete(call), { once: true });
}

export async function learnMe() {
  meet(await read("/me"));
}

function meet(found) {
  me = found;
  watchers.forEach((call) => call());
}

export function basic(user, password) {
  const utf8 = new TextEncoder().encode(`${user}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...utf8))}`;
}
export const bearer = (token) => `Bearer ${token}`;

/** Tries the credentials. Nothing else is asked with them before they are known to be good: what the page reads meanwhile
 * would be refused. */
export async function signIn(credentials) {
  const found = await read("/me", undefined, credentials);
  if (found.name === null) throw new Trouble(401, "it is not known here");
  authorization = credentials;
  meet(found);
}

/** What was read with the credentials goes with them. */
export const signOut = () => location.reload();

export const isSignedIn = () => authorization !== null;
