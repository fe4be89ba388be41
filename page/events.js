// The stream of events: read with fetch, so that it can be authorised, parsed here, and taken up again where it broke.

import { Trouble, openEvents } from "./api.js";

const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 10_000;
/** The daemon says something every 15 s; who is silent for longer than this is gone. */
const SILENCE_MS = 40_000;
/** A line longer than this is no event of ours. */
const LINE_MAX = 1 << 20;

/** Turns pieces of text into events, as the standard has it. */
class Parser {
  constructor() {
    this.rest = "";
    this.name = "";
    this.id = null;
    this.data = [];
  }

  take(text) {
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    if (this.rest.length > LINE_MAX) throw new Trouble(0, "the stream of events is not one");
    return lines.map((line) => this.line(line)).filter((event) => event !== null);
  }

  line(line) {
    if (line === "") return this.dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.name = value;
    else if (field === "data") this.data.push(value);
    else if (field === "id" && !value.includes("\0")) this.id = value;
    return null;
  }

  dispatch() {
    const event = { name: this.name || "message", id: this.id, data: this.data.join("\n") };
    const isEmpty = this.data.length === 0;
    this.name = "";
    this.data = [];
    return isEmpty ? null : event;
  }
}

function pause(ms, signal) {
  return new Promise((done) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      done(null);
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
  });
}

/** The next wait: twice the last, at random within a fifth, so that a hundred pages do not come back at once. */
const backoff = (tries) => Math.min(RETRY_MIN_MS * 2 ** tries, RETRY_MAX_MS) * (0.8 + 0.4 * Math.random());

/** A stream that is kept open until it is closed. */
export class Stream {
  constructor(reader) {
    this.reader = reader;
    this.last = "";
    this.end = new AbortController();
    this.tries = 0;
  }

  open(last) {
    this.last = last;
    this.end = new AbortController();
    this.run(this.end.signal);
  }

  close() {
    this.end.abort();
  }

  async run(end) {
    for (this.tries = 0; !end.aborted; this.tries += 1) {
      try {
        await this.follow(end);
        if (!end.aborted) this.reader.onLost(new Trouble(0, "the stream of events ended"));
      } catch (error) {
        if (end.aborted) return;
        this.reader.onLost(error instanceof Trouble ? error : new Trouble(0, "the connection broke"));
      }
      await pause(backoff(this.tries), end);
    }
  }

  /** One connection, from its beginning to its end. */
  async follow(end) {
    const silence = new AbortController();
    const patience = () => setTimeout(() => silence.abort(new Trouble(0, "nothing was heard")), SILENCE_MS);
    let timer = patience();
    try {
      const signal = AbortSignal.any([end, silence.signal]);
      const reader = (await openEvents(this.last, signal)).pipeThrough(new TextDecoderStream()).getReader();
      const parser = new Parser();
      this.reader.onOpen();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        clearTimeout(timer);
        timer = patience();
        this.tries = 0;
        this.tell(parser.take(value));
      }
    } finally {
      clearTimeout(timer);
    }
  }

  tell(events) {
    if (events.length === 0) return;
    this.last = events.at(-1)?.id || this.last;
    this.reader.onEvents(events);
  }
}
