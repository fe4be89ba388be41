// What a fact means to a reader: its tone, whether it is news, and which part of an incident's story it belongs to.
// The sentence comes with the fact; tones and news are those of the live story in a terminal.

import { isSick } from "./words.js";

const SEVERE = new Set([
  "consumer_stalled",
  "no_consumer",
  "probe_failed",
  "hung",
  "start_stuck",
  "oom_killed",
  "crash_loop",
]);

/** The health that a condition implies at least. */
export function healthOf(condition) {
  if (condition === "dead") return "dead";
  return SEVERE.has(condition) ? "critical" : "warning";
}

const OUTCOMES = { succeeded: "healthy", failed: "dead", superseded: "warning", in_doubt: "warning" };

/** Tones that hang on nothing but the event. */
const TONES = {
  condition_cleared: "healthy",
  storm_closed: "healthy",
  queue_found: "healthy",
  bus_lost: "dead",
  escalated: "dead",
  incident_reopened: "dead",
  intent_not_stored: "warning",
  watch_only: "warning",
  storm_opened: "warning",
  queue_lost: "warning",
  journal_gap: "warning",
  attempt_intended: "act",
  attempt_acted: "act",
  attempt_draining: "act",
  requested: "act",
  scale_wanted: "act",
  verification_started: "stopped",
  action_suppressed: "stopped",
  stopped_on_purpose: "stopped",
  paused: "stopped",
  approval_asked: "stopped",
};

/** The sign that stands before the sentence. */
export function tone(what) {
  switch (what.event) {
    case "health_changed":
    case "worker_health_changed":
      return what.to;
    case "instance_appeared":
      return what.health;
    case "condition_raised":
    case "condition_joined":
      return healthOf(what.condition);
    case "incident_opened":
      return what.condition ? healthOf(what.condition) : "act";
    case "attempt_ended":
      return OUTCOMES[what.outcome] ?? "plain";
    case "incident_closed":
      return what.resolution === "operator" || what.resolution === "false_alarm" ? "plain" : "healthy";
    case "hold_changed":
      return what.held ? "warning" : "plain";
    default:
      return TONES[what.event] ?? "plain";
  }
}

const SAID_ELSEWHERE = new Set([
  "health_changed",
  "incident_opened",
  "condition_joined",
  "availability_changed",
  "attempt_intended",
]);

/** Whether the fact tells a reader something that no other line says. */
export function isNews(what) {
  if (SAID_ELSEWHERE.has(what.event)) return false;
  switch (what.event) {
    case "condition_cleared":
      return !isSick(healthOf(what.condition));
    case "incident_closed":
      return what.resolution !== "recovered" || what.attempts === 0;
    case "worker_health_changed":
      return what.instances > 1;
    case "instance_appeared":
      return isSick(what.health);
    case "restarted":
      return what.by !== "unitmedic";
    default:
      return true;
  }
}

const PHASES = {
  incident_opened: "judged",
  incident_reopened: "judged",
  condition_joined: "judged",
  requested: "judged",
  scale_wanted: "judged",
  strategies_changed: "judged",
  action_suppressed: "waited because",
  approval_asked: "waited because",
  approval_answered: "acted",
  paused: "waited because",
  resumed: "waited because",
  hold_changed: "waited because",
  storm_opened: "waited because",
  storm_closed: "waited because",
  attempt_intended: "acted",
  intent_not_stored: "acted",
  attempt_acted: "acted",
  attempt_draining: "acted",
  escalated: "acted",
  verification_started: "verified",
  attempt_ended: "verified",
  incident_closed: "verified",
  marked_false: "verified",
};

/** The part of an incident's story: seen, judged, waited because, acted, verified. */
export const phase = (what) => PHASES[what.event] ?? "seen";
