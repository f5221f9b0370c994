// The three charts of the overview, with one cursor: rates, one buffer with its forecast, and losses by reason.

import { Chart } from "./chart.js";
import { BufferChart } from "./buffer_chart.js";
import { LossChart } from "./loss_chart.js";
import { el, setAttribute, setText } from "./dom.js";
import { decoded, received, stored } from "./figures.js";
import { count, rate, short } from "./format.js";

const SPANS_S = [60, 300, 600];
const LEAST_SPAN_S = 60; // a young history does not leave most of a chart empty

export class Charts {
  constructor(root, { say, redraw }) {
    this._spanS = 300;
    const row = el("div", { class: "charts" });
    const group = "overview";
    this._rates = new Chart(row, { title: "In and out", group, say });
    this._rates.aside("frames received and decoded, records stored");
    this._buffer = new BufferChart(row, { group, say, redraw });
    this._loss = new LossChart(row, { group, say });
    this._spans = SPANS_S.map((spanS) =>
      el("button", { type: "button", text: `${spanS / 60} min`, onclick: () => this._choose(spanS, redraw) }),
    );
    root.append(
      el(
        "div",
        { class: "segmented", role: "group", "aria-label": "Time shown in the charts" },
        ...this._spans,
      ),
      row,
    );
    this._leftOut = el("p", { class: "note", hidden: true });
    root.append(this._leftOut);
    this._mark();
  }

  update(app) {
    const { history } = app;
    setAttribute(this._leftOut, "hidden", history.leftOut === 0);
    setText(this._leftOut, leftOut(history.leftOut));
    const last = history.atS.at(-1);
    if (last === undefined) return;
    const spanS = Math.min(this._spanS, Math.max(LEAST_SPAN_S, last - history.atS[0]));
    const first = history.atS.findIndex((atS) => atS > last - spanS);
    const cut = (values) => values.slice(first);
    const x = cut(history.atS);
    const range = [last - spanS, last];
    this._rates.show(
      RATES,
      [x, ...[received, decoded, stored].map((wanted) => cut(history.rate(wanted)))],
      range,
    );
    this._buffer.update(app, x, cut, range);
    this._loss.update(app, x, cut, range);
  }

  recolour() {
    for (const chart of [this._rates, this._buffer.chart, this._loss.chart]) chart.recolour();
  }

  _choose(spanS, redraw) {
    this._spanS = spanS;
    this._mark();
    redraw();
  }

  _mark() {
    SPANS_S.forEach((spanS, i) => setAttribute(this._spans[i], "aria-pressed", spanS === this._spanS));
  }
}

/** The sentence on series that the history of the daemon leaves out. */
export function leftOut(n) {
  return `The daemon's history leaves out ${count(n)} series: before this page was opened, they are missing in the charts.`;
}

const RATES = {
  axes: [{ scale: "rate", format: short }],
  series: [
    { label: "received", ink: "received", scale: "rate", format: rate, fill: 0.08 },
    { label: "decoded", ink: "decoded", scale: "rate", format: rate, width: 1.25, dash: [4, 3] },
    { label: "stored", ink: "stored", scale: "rate", format: rate },
  ],
};
