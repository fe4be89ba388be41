// The first view: how the host is, what holds unitmedic back, what waits for a yes, the figures against the targets,
// and the workers as a calm grid, sick ones first. A change of health reaches its tile with the next frame.

import { onMe } from "./api.js";
import { approvalCard, deed, isOfApproval, pause, resume } from "./deeds.js";
import { address, button, h, healthWord, heard, incidentLink, patch, sign } from "./dom.js";
import { isNews, tone } from "./facts.js";
import { healthCounts, listen, present, summary } from "./present.js";
import { Reading, shown } from "./reading.js";
import { when } from "./time.js";
import { figures } from "./targets.js";
import { HEALTHS, SICK_FIRST, isSick } from "./words.js";

/** Instances of one worker and one health that are told in words; more become a number. */
const LISTED_PER_HEALTH = 10;
/** From so many instances on a worker has a row of its own. */
const WIDE_FROM = 60;
/** From so many workers on, panels out of sight are not laid out. */
const LONG_FROM = 40;
/** Events in sight before all are asked for. */
const EVENTS_SHOWN = 8;

/** `mail@2` before `mail@10`: a tile has its place by name, and keeps it. */
const { compare } = new Intl.Collator("en", { numeric: true });

/** What the grid is narrowed down to; it outlives the view. */
const filter = { name: "", health: "" };

export function show(main, _place, _query, life) {
  const parts = skeleton();
  patch(main, Object.values(parts.sections));
  const grid = new Grid(parts.grid);
  const targets = new Reading(() => "/targets", life, draw, {
    every: 60_000,
    on: (fact) => fact.what.event === "incident_closed",
  });
  const approvals = new Reading(() => "/approvals", life, draw, {
    on: isOfApproval,
  });
  const feed = { all: false };
  let isDue = false;
  let touched = null;

  listen("read", all, life);
  listen("workers", (names) => due(names), life);
  listen("facts", () => due(new Set()), life);
  onMe(draw, life);
  all();

  function all() {
    touched = null;
    frame();
  }

  function due(names) {
    if (isDue && touched === null) return;
    touched = new Set([...(isDue && touched ? touched : []), ...names]);
    frame();
  }

  /** However many events come, it is drawn once in a frame. */
  function frame() {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      const names = touched;
      touched = new Set();
      if (!present.overview || life.aborted) return;
      if (names) names.forEach((name) => grid.redraw(name));
      else grid.drawAll();
      draw();
    });
  }

  function draw() {
    if (!present.overview || life.aborted) return;
    drawHead(parts.sections.head);
    drawNotices(parts.sections.notices);
    drawApprovals(parts.sections.approvals, approvals.found);
    patch(parts.figures, shown(targets.found, figures));
    drawTools(parts.tools, () => grid.narrow());
    drawFeed(parts.sections.feed, feed, draw);
  }
}

function skeleton() {
  const head = h("header", { class: "summary", key: "head" }, h("h1", { tabindex: "-1" }, "unitmedic"));
  const figuresPlace = h("div", { class: "figures" });
  const tools = h("div", { class: "tools" });
  const grid = h("div", { class: "grid" });
  const sections = {
    head,
    notices: h("div", { key: "notices" }),
    approvals: h("div", { key: "approvals" }),
    targets: h(
      "section",
      { class: "targets", key: "targets", "aria-labelledby": "targets-title" },
      h("h2", { id: "targets-title", class: "heard" }, "Recovery against the targets, over 30 days"),
      figuresPlace,
    ),
    workers: h(
      "section",
      { class: "workers", key: "workers", "aria-labelledby": "workers-title" },
      h("h2", { id: "workers-title" }, "Workers"),
      tools,
      grid,
    ),
    feed: h("section", { class: "feed", key: "feed", "aria-labelledby": "feed-title" }),
  };
  return { sections, figures: figuresPlace, tools, grid };
}

function drawHead(place) {
  const { tone: kind, state, of } = summary();
  const { overview } = present;
  patch(
    place,
    h("h1", { tabindex: "-1", class: `state ${kind}` }, sign(kind), " ", state),
    h("p", { class: "dim" }, `${of}; unitmedic ${overview.version}, `, when(overview.at.wall)),
  );
}

/** What keeps unitmedic from seeing or acting, in the words of `unitmedic status`. */
function drawNotices(place) {
  const { overview } = present;
  const notices = [
    overview.not_ready && ["dead", `not ready: ${overview.not_ready}`],
    overview.watch_only && ["warning", `watches only and does nothing: ${overview.watch_only}`],
    overview.held && ["warning", "the hold file is there: nothing is done until it is removed"],
    overview.dry_run && ["warning", "dry run: decides and tells, but does nothing"],
    overview.storm && ["warning", "storm breaker open: so many are sick at once that running instances are left alone"],
    overview.disk_warning && ["warning", overview.disk_warning],
  ].filter(Boolean);
  const items = notices.map(([kind, text]) => h("li", { class: kind }, sign(kind), h("span", null, text)));
  const pauses = overview.pauses.map((one) => pauseNotice(one));
  patch(
    place,
    items.length + pauses.length > 0 && h("ul", { class: "notices", "aria-label": "Notices" }, items, pauses),
  );
}

export function pauseNotice(one) {
  const until =
    one.until === null ? [" until resumed, since ", when(one.since)] : [" until ", when(one.until, "point")];
  const reason = one.reason && `: ${one.reason}`;
  const name = one.worker ? `resume ${one.worker}` : "resume --all";
  return h(
    "li",
    { class: "stopped", key: `pause-${one.worker ?? ""}` },
    sign("stopped"),
    h("span", null, `${one.worker ?? "everything"} is paused`, until, ` by ${one.who}${reason}`),
    deed("Resume", `unitmedic ${name}`, () => resume(one.worker), { class: "small" }),
  );
}

function drawApprovals(place, found) {
  const isAny = present.overview.waiting_approvals > 0 || found.data?.length > 0;
  patch(
    place,
    isAny &&
      h(
        "section",
        { "aria-labelledby": "approvals-title" },
        h("h2", { id: "approvals-title" }, "Waiting for a yes"),
        h(
          "div",
          { class: "cards" },
          shown(found, (cards) => cards.map((card) => approvalCard(card))),
        ),
      ),
  );
}

function drawTools(place, narrow) {
  const counts = healthCounts();
  const chip = (health) => {
    const isOn = filter.health === health;
    const choose = () => {
      filter.health = isOn ? "" : health;
      drawTools(place, narrow);
      narrow();
    };
    return h(
      "button",
      { type: "button", class: `chip ${health}`, "aria-pressed": String(isOn), key: health, onclick: choose },
      sign(health),
      h("span", { class: "n" }, counts[health] ?? 0),
      ` ${health}`,
    );
  };
  const search = h("input", {
    type: "search",
    key: "name",
    "aria-label": "Filter by name",
    placeholder: "filter by name",
    oninput: (event) => {
      filter.name = event.target.value.trim().toLowerCase();
      narrow();
    },
  });
  if (!place.querySelector("input")) search.value = filter.name;
  patch(
    place,
    search,
    h(
      "div",
      { class: "chips", role: "group", "aria-label": "Filter by health", key: "chips" },
      HEALTHS.filter((health) => counts[health] || filter.health === health).map(chip),
    ),
    h(
      "span",
      { class: "push", key: "pause" },
      deed("Pause all", "unitmedic pause --all", () => pause(null), { class: "small" }),
    ),
  );
}

function drawFeed(place, feed, draw) {
  const news = present.events.filter((fact) => isNews(fact.what));
  const line = (fact) =>
    h(
      "li",
      { key: fact.seq },
      h("div", { class: "feed-time" }, sign(tone(fact.what)), when(fact.at.wall)),
      h("div", null, fact.text ?? fact.what.event, fact.incident !== undefined && [" ", incidentLink(fact.incident)]),
    );
  const toggle = () => {
    feed.all = !feed.all;
    draw();
  };
  patch(
    place,
    h("h2", { id: "feed-title", key: "title" }, "Latest events"),
    news.length === 0
      ? h("p", { class: "dim", key: "none" }, "Nothing has happened lately.")
      : h("ol", { key: "list" }, news.slice(0, feed.all ? undefined : EVENTS_SHOWN).map(line)),
    news.length > EVENTS_SHOWN &&
      button(feed.all ? "Show fewer" : `Show all ${news.length}`, toggle, { class: "small", key: "more" }),
  );
}

/** The workers' panels. A panel is made once and changed in place. */
class Grid {
  constructor(place) {
    this.place = place;
    this.panels = new Map();
    place.addEventListener("keydown", rove);
  }

  drawAll() {
    const { workers } = present.overview;
    const names = new Set(workers.map((one) => one.worker));
    this.place.classList.toggle("long", workers.length > LONG_FROM);
    for (const name of this.panels.keys()) if (!names.has(name)) this.panels.delete(name);
    for (const worker of workers) this.panel(worker.worker).draw(worker);
    this.arrange(workers.map((one) => this.panel(one.worker).element));
    this.narrow();
  }

  arrange(elements) {
    if (elements.length === 0) {
      patch(
        this.place,
        h(
          "p",
          null,
          "No worker is configured: nothing is touched. ",
          h("code", null, "unitmedic discover"),
          " proposes a configuration.",
        ),
      );
    } else if (this.place.children.length === 0) {
      const fragment = new DocumentFragment();
      fragment.append(...elements);
      this.place.append(fragment);
    } else {
      patch(this.place, elements);
    }
  }

  panel(name) {
    const known = this.panels.get(name);
    if (known) return known;
    const made = new Panel(name);
    this.panels.set(name, made);
    return made;
  }

  redraw(name) {
    const worker = present.overview.workers.find((one) => one.worker === name);
    if (worker) this.panel(name).draw(worker);
    if (filter.name || filter.health) this.narrow();
  }

  narrow() {
    let isAny = false;
    for (const panel of this.panels.values()) isAny = panel.narrow() || isAny;
    this.place.classList.toggle("none", !isAny && this.panels.size > 0);
  }
}

/** One worker: its state, a tile for each instance, and in words what is not well. */
class Panel {
  constructor(name) {
    this.name = name;
    this.tiles = new Map();
    this.head = h("header", null);
    this.tileBox = h("div", { class: "tiles", role: "group", "aria-label": `Instances of ${name}` });
    this.words = h("div", { class: "said" });
    this.element = h(
      "article",
      { class: "panel", key: `worker-${name}`, "aria-label": name },
      this.head,
      this.tileBox,
      this.words,
    );
  }

  draw(worker) {
    this.worker = worker;
    this.element.className = `panel ${worker.paused ? "stopped" : worker.health}${worker.instances.length >= WIDE_FROM ? " broad" : ""}`;
    patch(this.head, headParts(worker));
    this.drawTiles(worker.instances);
    patch(this.words, wordsOf(worker));
  }

  drawTiles(instances) {
    const isSame = instances.length === this.tiles.size && instances.every((one) => this.tiles.has(one.unit));
    if (!isSame) this.arrangeTiles(instances);
    for (const one of instances) dress(this.tiles.get(one.unit), one);
  }

  arrangeTiles(instances) {
    const { tiles } = this;
    const units = instances.map((one) => one.unit).sort(compare);
    this.tiles = new Map(units.map((unit) => [unit, tiles.get(unit) ?? this.tile(unit)]));
    const fragment = new DocumentFragment();
    fragment.append(...this.tiles.values());
    this.tileBox.replaceChildren(fragment);
    // One stop of the tab key for each worker; arrows go on from there.
    if (!this.tileBox.querySelector('[tabindex="0"]')) this.tileBox.firstElementChild?.setAttribute("tabindex", "0");
  }

  tile(unit) {
    return h("a", { href: address(["worker", this.name], { unit }), tabindex: "-1" });
  }

  /** Hides what the filter does not name; whether something is left. */
  narrow() {
    const isNamed = !filter.name || this.name.toLowerCase().includes(filter.name);
    let left = 0;
    for (const one of this.worker.instances) {
      const isShown =
        (isNamed || one.unit.toLowerCase().includes(filter.name)) && (!filter.health || one.health === filter.health);
      const tile = this.tiles.get(one.unit);
      if (tile && tile.hidden === isShown) tile.hidden = !isShown;
      left += isShown ? 1 : 0;
    }
    const isEmptyMatch =
      this.worker.instances.length === 0 && isNamed && (!filter.health || this.worker.health === filter.health);
    this.element.hidden = left === 0 && !isEmptyMatch;
    return !this.element.hidden;
  }
}

function dress(tile, one) {
  const kind = `tile ${one.health}${one.incident !== undefined && one.incident !== null ? " open" : ""}`;
  if (tile.className !== kind) tile.className = kind;
  const words = `${one.unit}: ${one.health}${one.because && one.health !== "healthy" ? `, ${one.because}` : ""}`;
  if (tile.title !== words) tile.title = words;
}

function headParts(worker) {
  const need = worker.min_instances > 1 ? `, min ${worker.min_instances}` : "";
  return [
    h(
      "h3",
      null,
      h("a", { href: address(["worker", worker.worker]) }, worker.worker),
      worker.critical && h("span", { class: "tag" }, "critical"),
    ),
    h(
      "p",
      { class: "counts" },
      healthWord(worker.health, worker.paused && ", paused"),
      h(
        "span",
        { class: "dim" },
        `${worker.serving} of ${Math.max(worker.desired, worker.serving)}${need}`,
        heard(" serving"),
      ),
    ),
  ];
}

/** Stopped, unseen and well instances are tiles alone. */
const needsALook = (one) => isSick(one.health) || one.health === "warning" || one.incident !== undefined;

function wordsOf(worker) {
  const sorted = SICK_FIRST.map((health) => worker.instances.filter((one) => one.health === health && needsALook(one)));
  const listed = sorted.flatMap((some) => some.slice(0, LISTED_PER_HEALTH));
  const more = sorted
    .filter((some) => some.length > LISTED_PER_HEALTH)
    .map((some) => `${some.length - LISTED_PER_HEALTH} more ${some[0].health}`);
  // With several instances the tiles say why.
  const isBare = listed.length === 0 && worker.instances.length <= 1 && worker.health !== "healthy";
  return [
    isBare && h("p", { class: "dim" }, worker.because),
    listed.length > 0 &&
      h(
        "ul",
        null,
        listed.map((one) => instanceWords(worker, one)),
      ),
    more.length > 0 && h("p", { class: "dim" }, `and ${more.join(", ")}`),
  ];
}

function instanceWords(worker, one) {
  const isWell = one.health === "healthy";
  const link = one.incident !== undefined && [incidentLink(one.incident), ": "];
  return h(
    "li",
    { key: one.unit },
    h(
      "div",
      null,
      sign(one.health),
      " ",
      h("a", { class: "unit", href: address(["worker", worker.worker], { unit: one.unit }) }, one.unit),
      heard(` ${one.health}`),
    ),
    !isWell && h("div", { class: "because" }, link, one.because),
    one.doing && h("div", { class: "doing" }, sign("act"), " ", isWell && link, one.doing),
  );
}

/** Arrows, Home and End go from tile to tile. */
function rove(event) {
  const from = event.target;
  if (!from.classList.contains("tile")) return;
  const tiles = [...(from.parentElement?.children ?? [])].filter((tile) => !tile.hidden);
  const to = destination(event.key, tiles, tiles.indexOf(from));
  if (!to) return;
  event.preventDefault();
  from.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

function destination(key, tiles, at) {
  const row = tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length;
  const steps = {
    ArrowLeft: at - 1,
    ArrowRight: at + 1,
    ArrowUp: at - row,
    ArrowDown: at + row,
    Home: 0,
    End: tiles.length - 1,
  };
  return steps[key] === undefined ? undefined : tiles[steps[key]];
}
