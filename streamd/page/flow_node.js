// One node of the flow strip: its rate, its time as busy, blocked and idle, its buffer and wait, and its losses.

import { el, setAttribute, setStyle, setText } from "./dom.js";
import { bytes, count, duration, percent, rate } from "./format.js";

const STATES = ["busy", "blocked", "idle"];

export class FlowNode {
  constructor(name) {
    this._rate = el("span", { class: "node-rate" });
    this._limit = el("span", { class: "tag tag-limit", text: "bottleneck", hidden: true });
    this._note = el("p", { class: "node-note" });
    this._shares = STATES.map((state) => el("span", { class: `share share-${state}` }));
    this._said = el("p", { class: "node-shares" });
    this._bar = el("div", { class: "shares", "aria-hidden": "true" }, ...this._shares);
    this._fill = el("span", { class: "fill-level" });
    this._gauge = el("div", { class: "fill", "aria-hidden": "true" }, this._fill);
    this._buffer = el("p", { class: "node-buffer" });
    this._fates = el("p", { class: "node-fates" });
    this.element = el(
      "li",
      { class: "node" },
      el(
        "p",
        { class: "node-head" },
        el("span", { class: "node-name", text: name }),
        this._limit,
        this._rate,
      ),
      this._note,
      this._bar,
      this._said,
      this._gauge,
      this._buffer,
      this._fates,
    );
    this._before = null;
  }

  /** `one` has stage, buffer, n (what it has passed), word (its name), lost, rejected, filtered, bottleneck. */
  update(one) {
    this._showRate(one);
    setAttribute(this.element, "data-bottleneck", one.bottleneck ? "yes" : null);
    this._limit.hidden = !one.bottleneck;
    this._showNote(one);
    this._showStage(one.stage);
    this._showBuffer(one.buffer);
    this._showFates(one);
  }

  _showRate(one) {
    const [elapsedS, n] = [one.stage?.elapsed_s ?? null, one.n];
    if (this._before !== null && elapsedS !== null && elapsedS > this._before.elapsedS) {
      const perSecond = Math.max(0, n - this._before.n) / (elapsedS - this._before.elapsedS);
      this._smooth = this._smooth === undefined ? perSecond : this._smooth + 0.4 * (perSecond - this._smooth);
      if (perSecond === 0 && this._smooth < 0.5) this._smooth = 0;
      setText(this._rate, rate(this._smooth >= 10 ? Math.round(this._smooth) : this._smooth));
    }
    if (elapsedS !== null) this._before = { elapsedS, n };
    setAttribute(this._rate, "title", `${count(n)} ${one.word}`);
  }

  _showNote({ note, trouble, steps }) {
    const parts = [note, trouble].filter(Boolean);
    for (const step of steps ?? []) parts.push(`${step.name}: busy ${percent(step.recent.busy)}`);
    setText(this._note, parts.join(" · "));
    setAttribute(this._note, "data-trouble", trouble ? "yes" : null);
    this._note.hidden = parts.length === 0;
  }

  _showStage(stage) {
    this._bar.hidden = stage === null;
    this._said.hidden = stage === null;
    if (stage === null) return;
    STATES.forEach((state, i) =>
      setStyle(this._shares[i], "inline-size", `${(stage.recent[state] * 100).toFixed(1)}%`),
    );
    setText(this._said, STATES.map((state) => `${state} ${percent(stage.recent[state])}`).join(" · "));
  }

  _showBuffer(buffer) {
    this._gauge.hidden = buffer === null;
    this._buffer.hidden = buffer === null;
    if (buffer === null) return;
    setStyle(this._fill, "inline-size", `${Math.min(100, buffer.fill * 100).toFixed(1)}%`);
    setAttribute(this._gauge, "data-level", buffer.full ? "bad" : buffer.fill > 0.5 ? "warn" : null);
    const byBytes = buffer.bytes / buffer.max_bytes > buffer.records / buffer.max_records;
    const held = byBytes
      ? `${bytes(buffer.bytes)} of ${bytes(buffer.max_bytes)}`
      : `${count(buffer.records)} of ${count(buffer.max_records)}`;
    const waitS = buffer.outlook?.wait_s;
    const parts = [`holds ${held}`];
    if (waitS !== null && waitS !== undefined) parts.push(`waits ${duration(waitS)}`);
    const slackS = buffer.outlook?.loop_slack_s;
    if (slackS !== null && slackS !== undefined) parts.push(`kernel holds ${duration(slackS)}`);
    setText(this._buffer, parts.join(" · "));
  }

  _showFates(one) {
    const parts = [];
    if (one.lost) parts.push(`${count(one.lost)} lost`);
    if (one.rejected) parts.push(`${count(one.rejected)} rejected`);
    if (one.filtered) parts.push(`${count(one.filtered)} filtered`);
    this._fates.hidden = parts.length === 0;
    setText(this._fates, parts.join(" · "));
    setAttribute(this._fates, "data-lost", one.lost ? "yes" : null);
  }
}
