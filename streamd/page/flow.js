// The flow strip: sources, pipelines and sinks as nodes, and their connections, as wide as the rate in them.

import { el, setAttribute, setChildren, setText } from "./dom.js";
import { FlowNode } from "./flow_node.js";
import { FlowLinks } from "./flow_links.js";
import { buffers, total } from "./figures.js";

const COLUMNS = [
  ["source", "Sources"],
  ["workers", "Pipelines"],
  ["sink", "Sinks"],
];

export class Flow {
  constructor(root) {
    this._nodes = new Map();
    this._lists = new Map(COLUMNS.map(([kind]) => [kind, el("ul", { class: "flow-nodes" })]));
    this._links = new FlowLinks();
    const columns = COLUMNS.map(([kind, title]) =>
      el("div", { class: "flow-column" }, el("h3", { text: title }), this._lists.get(kind)),
    );
    this._strip = el("div", { class: "flow-strip" }, this._links.element, ...columns);
    root.append(this._strip);
    this._sizes = new ResizeObserver(() => this._links.place(this._strip, this._nodes));
    this._sizes.observe(this._strip);
  }

  update({ status, history }) {
    if (status.run_id !== this._runId) this._begin(status.run_id);
    const wanted = this._wanted(status);
    let changed = false;
    for (const [kind, list] of this._lists) {
      const items = wanted.filter((one) => one.kind === kind);
      const nodes = items.map((one) => {
        const key = `${kind}\n${one.name}`;
        let node = this._nodes.get(key);
        if (node === undefined) {
          node = new FlowNode(one.name);
          this._nodes.set(key, node);
          this._sizes.observe(node.element);
          changed = true;
        }
        node.update(one);
        return node.element;
      });
      changed ||= list.children.length !== nodes.length;
      setChildren(list, nodes);
    }
    const keys = new Set(wanted.map((one) => `${one.kind}\n${one.name}`));
    for (const key of [...this._nodes.keys()]) if (!keys.has(key)) this._forget(key);
    const rates = links(status, history);
    changed = this._links.update(rates) || changed;
    if (changed) this._links.place(this._strip, this._nodes);
    setAttribute(this._strip, "data-nodes", wanted.length);
  }

  /** A new run counts from zero. */
  _begin(runId) {
    this._runId = runId;
    for (const key of [...this._nodes.keys()]) this._forget(key);
    this._links.forget();
  }

  _forget(key) {
    this._sizes.unobserve(this._nodes.get(key).element);
    this._nodes.delete(key);
  }

  /** What each node shows. */
  _wanted(status) {
    const stages = new Map(status.stages.map((stage) => [`${stage.kind} ${stage.name}`, stage]));
    const held = new Map(buffers(status).map((buffer) => [`${buffer.kind} ${buffer.name}`, buffer]));
    const limits = bottlenecks(status);
    const of = (kind, name, sums) => ({
      kind,
      name,
      stage: stages.get(`${kind} ${name}`) ?? null,
      buffer: held.get(`${kind} ${name}`) ?? null,
      bottleneck: limits.has(`${kind} ${name}`),
      ...sums,
    });
    const found = status.sources.map((source) =>
      of("source", source.name, {
        note: source.listening.join(", "),
        ...fates([source.frames], source.frames.received ?? 0, "received"),
      }),
    );
    for (const stage of status.stages.filter((one) => one.kind === "workers")) {
      const books = status.pipelines
        .filter((one) => stage.name.split(", ").includes(one.name))
        .map((one) => one.records);
      const steps = status.stages.filter(
        (one) =>
          one.kind === "step" && stage.name.split(", ").some((name) => one.name.startsWith(`${name}.`)),
      );
      found.push(
        of("workers", stage.name, { steps, ...fates(books, sum(books, "in") + sum(books, "emitted"), "in") }),
      );
    }
    for (const sink of status.sinks) {
      const books = sink.deliveries.map((one) => one.records);
      found.push(
        of("sink", sink.name, { trouble: sink.reason, ...fates(books, sum(books, "stored"), "stored") }),
      );
    }
    return found;
  }
}

function sum(books, of) {
  return books.reduce((found, book) => found + total(book[of]), 0);
}

function fates(books, n, word) {
  return {
    n,
    word,
    lost: sum(books, "dropped") + sum(books, "kernel_dropped"),
    rejected: sum(books, "rejected"),
    filtered: sum(books, "filtered"),
  };
}

/** The stages that limit the flow: the workers behind a source buffer, or the sink behind its own. */
function bottlenecks(status) {
  const found = new Set();
  for (const one of status.outlook ?? []) {
    if (!one.bottleneck) continue;
    if (one.kind === "sink") found.add(`sink ${one.name}`);
    const fed = new Set(status.pipelines.filter((book) => book.source === one.name).map((book) => book.name));
    for (const stage of status.stages) {
      if (
        one.kind === "source" &&
        stage.kind === "workers" &&
        stage.name.split(", ").some((name) => fed.has(name))
      )
        found.add(`workers ${stage.name}`);
    }
  }
  return found;
}

/** The connections with what they have carried: [{from, to, n}]. */
function links(status) {
  const found = new Map();
  const stageOf = new Map();
  for (const stage of status.stages) {
    if (stage.kind === "workers") for (const name of stage.name.split(", ")) stageOf.set(name, stage.name);
  }
  const add = (from, to, n) => found.set(`${from}\t${to}`, (found.get(`${from}\t${to}`) ?? 0) + n);
  for (const { name, source, records } of status.pipelines) {
    if (stageOf.has(name)) add(`source\n${source}`, `workers\n${stageOf.get(name)}`, records.in ?? 0);
  }
  for (const sink of status.sinks) {
    for (const { pipeline, records } of sink.deliveries) {
      if (stageOf.has(pipeline))
        add(
          `workers\n${stageOf.get(pipeline)}`,
          `sink\n${sink.name}`,
          (records.offered ?? 0) - (records.unmatched ?? 0),
        );
    }
  }
  return { seq: status.seq, found };
}
