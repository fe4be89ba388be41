// One worker: its state and queues, its instances, the plots and the explanation of the chosen one, its incidents, and
// what was learned of it.

import { onMe } from "./api.js";
import { approvalCard, deed, isOfApproval, needed, pause, recover, resume } from "./deeds.js";
import { address, box, button, h, healthWord, heading, heard, incidentLink, patch, sign, table } from "./dom.js";
import { explanationParts } from "./explanation.js";
import { incidentTable } from "./incidents.js";
import { pauseNotice } from "./overview.js";
import { plot } from "./plot.js";
import { glance, listen, present } from "./present.js";
import { nothingLearned, proposalList, strategyBlock } from "./learned.js";
import { Reading, shown } from "./reading.js";
import { when } from "./time.js";
import { SICK_FIRST, bytes, coarse, count, human, pathWith, percent, queueName } from "./words.js";

/** Rows of instances before more are asked for. */
const ROWS = 100;
/** A worker with more instances than this is read whole only now and then; events keep its healths true. */
const LARGE_FROM = 200;

export function show(main, place, query, life) {
  const view = new WorkerView(main, place[1] ?? "", query.unit, life);
  view.draw();
  return (next) => view.choose(next.unit);
}

class WorkerView {
  constructor(main, name, unit, life) {
    this.main = main;
    this.name = name;
    this.wanted = unit;
    this.rows = ROWS;
    this.needle = "";
    this.life = life;
    this.isDue = false;
    const draw = () => this.due();
    const mine = (fact) => fact.worker === name;
    const ofUnit = (fact) => fact.unit === this.unit;
    const isLarge = (glance(name)?.instances.length ?? 0) > LARGE_FROM;
    this.worker = new Reading(() => `/workers/${encodeURIComponent(name)}`, life, draw, {
      every: 15_000,
      on: isLarge ? undefined : mine,
    });
    this.incidents = new Reading(() => pathWith("/incidents", { worker: name, limit: 10 }), life, draw, {
      on: (fact) => mine(fact) && fact.incident !== undefined,
    });
    this.approvals = new Reading(() => "/approvals", life, draw, { on: (fact) => mine(fact) && isOfApproval(fact) });
    this.strategies = new Reading(() => pathWith("/strategies", { worker: name }), life, draw, { every: 60_000 });
    this.advice = new Reading(() => pathWith("/advice", { worker: name }), life, draw, { every: 120_000 });
    this.series = null;
    this.explanation = null;
    this.ofUnit = ofUnit;
    listen("workers", (names) => names.has(name) && draw(), life);
    listen("read", draw, life);
    onMe(draw, life);
  }

  /** The instance that is looked at: the chosen one, else the sickest. */
  get unit() {
    const all = this.instances;
    if (this.wanted && (all.length === 0 || all.some((one) => one.unit === this.wanted))) return this.wanted;
    return all[0]?.unit;
  }

  /** Sick first, with the health that events have told since they were read. */
  get instances() {
    const fresh = new Map((glance(this.name)?.instances ?? []).map((one) => [one.unit, one]));
    const read = this.worker.found.data?.instances ?? [...fresh.values()];
    const merged = read.map((one) => ({ ...one, health: fresh.get(one.unit)?.health ?? one.health }));
    return merged.sort((a, b) => SICK_FIRST.indexOf(a.health) - SICK_FIRST.indexOf(b.health));
  }

  choose(unit) {
    this.wanted = unit;
    this.follow();
    this.draw();
    document.getElementById("chosen")?.scrollIntoView({ block: "nearest" });
  }

  /** Series and explanation are those of the chosen instance. */
  follow() {
    const { unit } = this;
    if (!unit || unit === this.followed) return;
    this.followed = unit;
    if (this.series && this.explanation) {
      this.series.restart();
      this.explanation.restart();
      return;
    }
    const name = () => encodeURIComponent(this.followed);
    this.series = new Reading(
      () => `/instances/${name()}/series`,
      this.life,
      () => this.due(),
      { every: 15_000 },
    );
    this.explanation = new Reading(
      () => pathWith("/explain", { unit: this.followed }),
      this.life,
      () => this.due(),
      { every: 15_000, on: this.ofUnit },
    );
  }

  due() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      if (!this.life.aborted) this.draw();
    });
  }

  draw() {
    if (this.worker.found.trouble?.status === 404) {
      patch(this.main, h("h1", { tabindex: "-1" }, this.name), h("p", null, this.worker.found.trouble.message));
      return;
    }
    // Without a wish the sickest is looked at, until one is chosen or it is gone.
    if (!this.wanted && this.instances.length > 0) this.wanted = this.unit;
    this.follow();
    patch(this.main, this.head(), this.cards(), this.instancesBox(), this.chosenBox(), this.pastBoxes());
  }

  /** Actions on this worker that wait for a yes. */
  cards() {
    const cards = (this.approvals.found.data ?? []).filter((card) => card.worker === this.name);
    return (
      cards.length > 0 &&
      h(
        "div",
        { class: "cards", key: "approvals" },
        cards.map((card) => approvalCard(card, "h2")),
      )
    );
  }

  head() {
    const worker = glance(this.name) ?? this.worker.found.data;
    const paused = present.overview?.pauses.filter((one) => !one.worker || one.worker === this.name) ?? [];
    return heading(
      [this.name, worker?.critical && h("span", { class: "tag" }, "critical")],
      worker &&
        h(
          "p",
          { class: "sub" },
          healthWord(worker.health, worker.paused && ", paused"),
          h("span", null, worker.because),
          h("span", { class: "dim" }, capacity(worker, this.worker.found.data)),
        ),
      paused.length > 0 && h("ul", { class: "notices" }, paused.map(pauseNotice)),
      queues(this.worker.found.data?.queues ?? []),
      h("div", { class: "deeds" }, this.deeds(worker)),
      needed(),
    );
  }

  deeds(worker) {
    const { name } = this;
    return [
      deed("Recover …", `unitmedic recover ${name} --action restart`, () => recover({ worker: name }, this.hooks())),
      worker?.paused
        ? deed("Resume", `unitmedic resume ${name}`, () => resume(name))
        : deed("Pause …", `unitmedic pause ${name} --for 1h`, () => pause(name)),
    ];
  }

  /** Hooks that plans or strategies of the worker name. */
  hooks() {
    const steps = (this.explanation?.found.data?.[0]?.plan.steps ?? []).map((step) => step.action);
    const ranked = (this.strategies.found.data ?? []).flatMap((one) =>
      one.ranking.actions.map((other) => other.action),
    );
    return [...new Set([...steps, ...ranked])].filter((action) => action.startsWith("hook:"));
  }

  instancesBox() {
    const matching = this.instances.filter((one) => one.unit.toLowerCase().includes(this.needle));
    const type = (event) => {
      this.needle = event.target.value.trim().toLowerCase();
      this.draw();
    };
    const more = () => {
      this.rows += 10 * ROWS;
      this.draw();
    };
    return box(
      "instances",
      "Instances",
      this.instances.length > 20 &&
        h(
          "p",
          { class: "filters", key: "filter" },
          h("input", {
            type: "search",
            "aria-label": "Filter instances by name",
            placeholder: "filter by name",
            oninput: type,
          }),
        ),
      shown(this.worker.found, () =>
        matching.length === 0
          ? h("p", { class: "dim" }, "No instance.")
          : this.instanceTable(matching.slice(0, this.rows)),
      ),
      matching.length > this.rows &&
        h(
          "p",
          { class: "more" },
          button(`Show ${Math.min(10 * ROWS, matching.length - this.rows)} more of ${matching.length}`, more),
        ),
    );
  }

  instanceTable(rows) {
    const { name, unit: chosen } = this;
    const link = (one) =>
      h(
        "a",
        {
          class: "unit",
          href: address(["worker", name], { unit: one.unit }),
          "aria-current": one.unit === chosen ? "true" : null,
        },
        one.unit,
      );
    return table(
      `Instances of ${name}, sick ones first`,
      [
        { head: "Unit", name: true, cell: link },
        { head: "Health", cell: (one) => healthWord(one.health) },
        { head: "CPU", number: true, cell: (one) => (typeof one.cpus === "number" ? percent(one.cpus) : "–") },
        { head: "Memory", number: true, cell: memory },
        { head: "Up", number: true, cell: (one) => (one.up_since ? when(one.up_since, "since") : "–") },
        { head: "Restarts", number: true, cell: restarts },
        {
          head: "Last sign of life",
          number: true,
          cell: (one) => (one.heartbeat ? [when(one.heartbeat.at, "ago"), ` (${one.heartbeat.source})`] : "–"),
        },
        {
          head: "Errors/min",
          number: true,
          cell: (one) => (typeof one.errors_per_minute === "number" ? one.errors_per_minute.toFixed(1) : "–"),
        },
        {
          head: "Tasks",
          number: true,
          cell: ({ usage }) =>
            usage?.tasks ? `${usage.tasks}${usage.tasks_max ? ` of ${usage.tasks_max}` : ""}` : "–",
        },
        {
          head: "Files",
          number: true,
          cell: ({ usage }) => (usage?.open_files ? `${usage.open_files.count} of ${usage.open_files.limit}` : "–"),
        },
        { head: "What is being done", wide: true, cell: state },
      ],
      rows,
      (one) => one.unit,
    );
  }

  chosenBox() {
    const { unit } = this;
    if (!unit || !this.series || !this.explanation) return null;
    return box(
      "chosen",
      [h("span", { class: "unit" }, unit), " in the last hour"],
      shown(this.series.found, plots),
      h("h2", { class: "more" }, "Why it was or was not recovered"),
      h(
        "div",
        { class: "explained", key: "explanation" },
        shown(this.explanation.found, (all) => all.filter((one) => one.unit === unit).map(explanationParts)),
      ),
      h(
        "div",
        { class: "deeds" },
        deed(`Recover ${unit} …`, `unitmedic recover ${unit} --action restart`, () => recover({ unit }, this.hooks())),
      ),
    );
  }

  pastBoxes() {
    const every = address(["incidents"], { worker: this.name });
    return [
      box(
        "past",
        "Incidents",
        shown(this.incidents.found, (list) => [
          incidentTable(list, `Incidents of ${this.name}`),
          h("p", { class: "more" }, h("a", { href: every }, "All of its incidents")),
        ]),
      ),
      h(
        "div",
        { class: "boxes", key: "learned" },
        box(
          "strategies",
          "Strategies",
          shown(this.strategies.found, (list) => (list.length === 0 ? nothingLearned() : list.map(strategyBlock))),
        ),
        box("advice", "Advice", shown(this.advice.found, proposalList)),
      ),
    ];
  }
}

/** `2 of 3 serving, min 2, max 5`. */
function capacity(worker, whole) {
  const max = worker.max_instances ? `, max ${worker.max_instances}` : "";
  const scaled = whole?.scaled > 0 ? `, ${whole.scaled} started by unitmedic` : "";
  return `${worker.serving} of ${Math.max(worker.desired, worker.serving)} serving, min ${worker.min_instances}${max}${scaled}${whole ? `; units ${whole.selector}` : ""}`;
}

const queues = (all) =>
  all.length > 0 &&
  h(
    "ul",
    { "aria-label": "Queues" },
    all.map((one) => h("li", null, queueWords(one))),
  );

function queueWords({ queue, depth, unknown }) {
  const name = queueName(queue);
  if (unknown) return [sign("warning"), ` queue ${name} cannot be read: ${unknown}`];
  if (!depth) return `queue ${name}: not read yet`;
  const more = typeof depth.unacknowledged === "number" ? `, ${depth.unacknowledged} unacknowledged` : "";
  return `queue ${name}: ${depth.ready} ready, ${count(depth.consumers, "consumer")}${more}`;
}

function memory({ memory_used_bytes: used, memory_limit_bytes: limit }) {
  if (typeof used !== "number") return "–";
  return typeof limit === "number" ? `${bytes(used)} / ${bytes(limit)}` : bytes(used);
}

function restarts({ restarts: by }) {
  const parts = Object.entries(by ?? {}).filter(([, n]) => n > 0);
  const sum = parts.reduce((all, [, n]) => all + n, 0);
  const words = parts.map(([who, n]) => `${n} by ${who}`).join(", ");
  return sum === 0 ? "0" : h("span", { title: words }, sum, heard(` (${words})`));
}

function state(one) {
  const isWell = one.health === "healthy";
  const hasIncident = one.incident !== null && one.incident !== undefined;
  return [
    hasIncident && [incidentLink(one.incident), ": "],
    !isWell && one.because,
    !isWell && one.doing && "; ",
    one.doing,
    one.scaled && h("span", { class: "dim" }, " started by unitmedic"),
  ];
}

function plots(series) {
  const whole = (n) => String(Math.round(n));
  return h(
    "div",
    { class: "plots", key: "plots" },
    plot({ name: "CPU", word: percent }, series.cpu),
    plot({ name: "Memory", word: bytes }, series.memory),
    plot(
      {
        name: "Age of the last sign of life",
        word: (seconds) => (seconds < 1 ? coarse(seconds * 1e6) : human(Math.round(seconds) * 1e6)),
      },
      series.heartbeat,
    ),
    series.queues.map((one) => plot({ name: `Queue ${queueName(one.queue)}, ready`, word: whole }, one.ready)),
  );
}
