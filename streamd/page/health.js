// The sentence that answers at a glance whether data flows, whether anything is lost, and what will happen next.

import { el, setAttribute, setText } from "./dom.js";
import { buffers, lastLossS, lost, lostSinceStart, received } from "./figures.js";
import { clock, count, duration, rate, since } from "./format.js";

const ICONS = { good: "✓", warn: "!", bad: "✕", away: "…" };
const JUST_S = 10;

/** The judgement: {level, word, parts}. `level` is good, warn, bad or away (nothing is known). */
export function judge({ status, history, connection }) {
  if (connection.state === "refused")
    return { level: "away", word: "The token is needed", parts: [connection.why] };
  if (connection.state === "gone") return gone(status, connection);
  if (!status) return { level: "away", word: "Connecting", parts: [] };
  if (connection.state === "stale") {
    const parts = [
      `no news from the daemon for ${duration(Math.floor(connection.ageS))}`,
      "the figures below are old",
    ];
    return { level: "away", word: "Stale", parts };
  }
  const found = faults(status, history);
  const level = found.some((one) => one.level === "bad") ? "bad" : found.length ? "warn" : "good";
  const word = { good: "Healthy", warn: "Attention", bad: "Trouble" }[level];
  const reasons = found
    .sort((a, b) => (a.level === b.level ? 0 : a.level === "bad" ? -1 : 1))
    .map((one) => one.text);
  return { level, word, parts: [...reasons, ...figures(status, history)] };
}

function gone(status, connection) {
  const last =
    status && connection.ageS >= 1
      ? `the figures below are ${duration(Math.floor(connection.ageS))} old`
      : null;
  const parts = [connection.why, last, "trying again"].filter(Boolean);
  return { level: "bad", word: "The daemon is gone", parts };
}

function faults(status, history) {
  const found = [];
  const add = (level, text) => found.push({ level, text });
  if (status.phase !== "running") add("warn", status.phase);
  const losing = history.rateNow(lost);
  if (losing > 0) add("bad", `losing ${rate(losing)}`);
  if (!status.balanced) add("bad", `the books do not balance: ${status.imbalances[0]}`);
  if (!status.ready && status.phase === "running")
    add("bad", `not ready: ${status.reasons[0] ?? "no reason given"}`);
  for (const one of status.outlook ?? []) {
    if (one.overflow_expected) add("bad", `${one.kind} ${one.name} ${full(one.full_in_s)}`);
    else if (one.standing_queue)
      add("warn", `${one.kind} ${one.name} has a standing queue of ${duration(one.min_sojourn_s)}`);
  }
  for (const sink of status.sinks) {
    if (sink.state !== "ok")
      add("warn", `${sink.name} retries for ${duration(sink.retrying_for_s)}: ${sink.reason}`);
  }
  if (status.reload_failure)
    add("warn", ["the newest reload failed", status.reload_failure.why?.[0]].filter(Boolean).join(": "));
  return found;
}

/** When a buffer is full: is full; will be full in 12 s. */
export function full(fullIn) {
  if (!fullIn) return "will be full soon";
  return fullIn.median <= 0 ? "is full" : `will be full in ${duration(fullIn.median)}`;
}

function figures(status, history) {
  const found = [];
  const inflow = history.rateNow(received);
  if (inflow !== null) found.push(`${rate(inflow)} in`);
  const sum = lostSinceStart(status);
  const lastS = sum ? lastLossS(history) : null;
  if (!sum) found.push(`nothing lost since ${since(Date.parse(status.started_at) / 1000)}`);
  else if (lastS === null) found.push(`nothing lost in the last minutes (${count(sum)} since the start)`);
  else if (history.atS.at(-1) - lastS > JUST_S)
    found.push(`nothing lost since ${clock(lastS)} (${count(sum)} before)`);
  else found.push(`${count(sum)} lost since the start`);
  const holds = reserveS(status, history);
  if (holds !== null) found.push(`buffers hold ${duration(holds)}`);
  return found;
}

/** How many seconds of the present inflow fit into the source buffer that would be full first. */
function reserveS(status, history) {
  let least = null;
  for (const buffer of buffers(status)) {
    if (buffer.kind !== "source") continue;
    const inflow = history.rateNow((series) => received(series) && series.name === buffer.name);
    if (!inflow) continue;
    const room = (buffer.max_records - buffer.records) / inflow;
    least = least === null ? room : Math.min(least, room);
  }
  return least;
}

/** The element of the sentence. A screen reader hears it when its judgement changes, not at each new rate. */
export class Health {
  constructor(root) {
    this._root = root;
    this._icon = el("span", { class: "health-icon", "aria-hidden": "true" });
    this._word = el("strong", { class: "health-word" });
    this._parts = el("span", { class: "health-parts" });
    this._said = el("span", { class: "visually-hidden", role: "status" });
    root.append(this._icon, el("p", {}, this._word, this._parts), this._said);
  }

  update(app) {
    const { level, word, parts } = judge(app);
    setAttribute(this._root, "data-level", level);
    setText(this._icon, ICONS[level]);
    setText(this._word, word);
    setText(this._parts, parts.map((part) => ` · ${part}`).join(""));
    const spoken = level === "good" ? word : `${word}: ${(parts[0] ?? "").replace(/[\d,.]+/g, "").trim()}`;
    if (spoken !== this._spoken) {
      this._spoken = spoken;
      setText(this._said, `${word}. ${parts.join(". ")}`);
    }
    this._title(level);
  }

  /** Show the judgement in the title only, which is visible although the page is not. */
  title(app) {
    this._title(judge(app).level);
  }

  _title(level) {
    const title = level === "good" ? "streamd" : `${ICONS[level]} streamd`;
    if (document.title !== title) document.title = title;
  }
}
