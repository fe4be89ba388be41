// One answer of the API that a view shows, kept fresh for as long as the view is open. An error is the matter of the
// place that shows the answer, and of no other.

import { Trouble, onMe, read } from "./api.js";
import { h } from "./dom.js";
import { listen, present } from "./present.js";

const GAP_MS = 2000;
const RETRY_MAX_MS = 10_000;

export class Reading {
  /** `changed` is called after each reading; it is read again `every` so many ms, and after facts that it is `on`. */
  constructor(path, life, changed, when = {}) {
    this.path = path;
    this.life = life;
    this.changed = changed;
    this.every = when.every ?? 30_000;
    this.found = { data: null, trouble: null };
    this.last = 0;
    this.tries = 0;
    this.round = 0;
    this.timer = undefined;
    this.heed(when.on);
    this.again();
  }

  heed(concerns) {
    const { life } = this;
    if (concerns) listen("facts", (facts) => facts.some(concerns) && this.soon(), life);
    listen("connection", () => present.connection === "live" && this.soon(), life);
    onMe(() => this.soon(), life);
    document.addEventListener("visibilitychange", () => !document.hidden && this.soon(), { signal: life });
    life.addEventListener("abort", () => clearTimeout(this.timer));
  }

  /** Another path, or the same anew: what was found before is of no use. */
  restart() {
    this.found = { data: null, trouble: null };
    this.again();
  }

  soon() {
    this.after(Math.max(150, this.last + GAP_MS - Date.now()));
  }

  after(ms) {
    clearTimeout(this.timer);
    if (this.life.aborted) return;
    this.timer = setTimeout(() => (document.hidden ? this.after(this.every) : this.again()), ms);
  }

  async again() {
    clearTimeout(this.timer);
    this.last = Date.now();
    this.round += 1;
    const { round } = this;
    try {
      const data = await read(this.path(), this.life);
      if (round !== this.round) return;
      this.tries = 0;
      this.found = { data, trouble: null };
      this.after(this.every * (0.8 + 0.4 * Math.random()));
    } catch (error) {
      if (this.life.aborted || round !== this.round) return;
      this.failed(error instanceof Trouble ? error : new Trouble(0, String(error)));
    }
    if (!this.life.aborted) this.changed();
  }

  failed(trouble) {
    this.found = { data: this.found.data, trouble };
    this.tries += 1;
    const wait = trouble.retryAfter ? trouble.retryAfter * 1000 : Math.min(500 * 2 ** this.tries, RETRY_MAX_MS);
    // What is not there, or not allowed, is so until something changes.
    if (trouble.status === 0 || trouble.status >= 500) this.after(wait * (0.8 + 0.4 * Math.random()));
    else if (trouble.status !== 401) this.after(this.every);
  }
}

/** Shows what was found by `show`; says what is wrong, and that it is still being read. */
export function shown(found, show) {
  const { data, trouble } = found;
  const again = trouble && (trouble.status === 0 || trouble.status >= 500) ? ", trying again" : "";
  return [
    trouble && h("p", { class: "trouble", key: "trouble" }, `${trouble.words}${again}`),
    data === null ? !trouble && h("p", { class: "dim", key: "reading" }, "reading …") : show(data),
  ];
}
