// The values of a chart as a table that only screen readers meet: a few rows, made anew every ten seconds.

import { el, setChildren } from "./dom.js";
import { clock } from "./format.js";

const ROWS = 10;
const EVERY_MS = 10_000;

export class ChartTable {
  constructor(title) {
    this._head = el("tr");
    this._body = el("tbody");
    this.element = el(
      "div",
      { class: "visually-hidden" },
      el("table", {}, el("caption", { text: `${title}: values` }), el("thead", {}, this._head), this._body),
    );
    this._madeMs = -EVERY_MS;
  }

  update(shape, data, isTime) {
    const nowMs = performance.now();
    if (nowMs - this._madeMs < EVERY_MS || !data[0].length) return;
    this._madeMs = nowMs;
    const shown = shape.series
      .map((one, i) => ({ one, values: one.own ?? data[i + 1] }))
      .filter(({ one }) => !one.quiet);
    const last = shape.newest ?? data[0].length - 1;
    const step = Math.max(1, Math.floor((last + 1) / ROWS));
    const rows = [];
    for (let i = last; i >= 0 && rows.length < ROWS; i -= step) {
      const cells = shown.map(({ one, values }) =>
        el("td", { text: values[i] === null || values[i] === undefined ? "–" : one.format(values[i]) }),
      );
      rows.push(
        el(
          "tr",
          {},
          el("th", { scope: "row", text: isTime ? clock(data[0][i]) : String(data[0][i]) }),
          ...cells,
        ),
      );
    }
    setChildren(
      this._head,
      [isTime ? "time" : "x", ...shown.map(({ one }) => one.label)].map((text) =>
        el("th", { scope: "col", text }),
      ),
    );
    setChildren(this._body, rows);
  }
}
