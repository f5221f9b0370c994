// The tap: records on their way at one point of the flow, a few each second, with the number of those not shown.

import { askJson, onToken } from "./access.js";
import { el, setChildren, setText } from "./dom.js";
import { events } from "./events.js";
import { clock, count } from "./format.js";
import { TokenNote } from "./token_form.js";

export class Tap {
  constructor(root, { most = 100, brief = false } = {}) {
    this._most = most;
    this._point = el("select", { required: true });
    this._where = el("input", {
      type: "text",
      placeholder: "value > 20",
      autocomplete: "off",
      spellcheck: "false",
    });
    this._fields = el("input", {
      type: "text",
      placeholder: "all",
      autocomplete: "off",
      spellcheck: "false",
      size: "14",
    });
    this._rate = el("input", { type: "number", min: "1", max: "1000", value: brief ? "2" : "10" });
    this._button = el("button", { type: "submit", text: "Start" });
    this._said = el("p", { class: "note", role: "status" });
    this._records = el("ol", { class: "records", tabindex: "0", "aria-label": "Newest records" });
    const labelled = (text, input) => el("label", {}, `${text} `, input);
    const more = brief
      ? []
      : [labelled("where", this._where), labelled("fields", this._fields), labelled("a second", this._rate)];
    this._form = el("form", { class: "fields" }, labelled("at", this._point), ...more, this._button);
    this._form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this._running) this.stop();
      else this._follow();
    });
    root.append(this._form, this._said, this._records);
    this._token = new TokenNote(root);
    onToken(() => (this._asked = false));
    this._asked = false;
    this._running = null;
  }

  update({ connection }) {
    if (!this._asked && connection.state === "live") this._askPoints();
  }

  stop() {
    this._running?.abort();
  }

  async _askPoints() {
    this._asked = true;
    try {
      const { points } = await askJson("/points");
      setChildren(
        this._point,
        points.map(({ point }) => el("option", { value: point, text: point })),
      );
      setText(this._said, "");
      this._form.hidden = false;
    } catch (error) {
      if (error.code === 401) this._token.show();
      else setText(this._said, error.message);
      this._form.hidden = error.code === 501; // a daemon of several processes has no taps
    }
  }

  async _follow() {
    const parameters = new URLSearchParams({ point: this._point.value, rate: this._rate.value });
    for (const [name, input] of [
      ["where", this._where],
      ["fields", this._fields],
    ]) {
      if (input.value.trim()) parameters.set(name, input.value.trim());
    }
    this._running = new AbortController();
    setText(this._button, "Stop");
    setChildren(this._records, []);
    const seen = { shown: 0, skipped: 0 };
    let end = "stopped";
    try {
      for await (const { event, data } of events(`/tap?${parameters}`, { signal: this._running.signal })) {
        if (event === "end") end = JSON.parse(data).text;
        else this._take(event, JSON.parse(data), seen);
      }
    } catch (error) {
      if (error.code === 401) this._token.show();
      if (error.name !== "AbortError") end = error.message;
    }
    this._running = null;
    setText(this._button, "Start");
    setText(this._said, `${summary(seen)} · ${end}`);
  }

  _take(event, data, seen) {
    if (event === "skipped") seen.skipped += data.records;
    else if (event === "unseen") seen.unseen = data.fields;
    else if (event === "record") {
      seen.shown += 1;
      this._records.prepend(
        el(
          "li",
          {},
          el("time", { text: clock(data.at_wall_s) }),
          el("code", { text: JSON.stringify(data.record) }),
        ),
      );
      while (this._records.children.length > this._most) this._records.lastChild.remove();
    }
    setText(this._said, summary(seen));
  }
}

export function summary({ shown, skipped, unseen = [] }) {
  const mistyped = unseen.length ? ` · no record had ${unseen.join(", ")} when it was looked for` : "";
  return `${count(shown)} shown · ${count(skipped)} skipped${mistyped}`;
}
