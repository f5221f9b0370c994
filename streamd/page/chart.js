// One chart over time: a canvas of uPlot with a legend, a cursor for the arrow keys, and a table for screen readers.

import { colour } from "./colours.js";
import { el, setAttribute, setChildren, setText } from "./dom.js";
import { clock } from "./format.js";
import { ChartTable } from "./chart_table.js";

const HEIGHT_PX = 190;
const FONT = '11px Inter, system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
const STEPS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };

/**
 * `shape.series` are {label, ink, fill, dash, width, scale, quiet}, `shape.bands` those of uPlot, `shape.axes` are
 * {scale, format, side}. Charts with the same `group` share their cursor.
 */
export class Chart {
  constructor(root, { title, group = null, time = true, height = HEIGHT_PX, say }) {
    this._say = say;
    this._group = group;
    this._time = time;
    this._height = height;
    this._heading = el("h3", { text: title });
    this._aside = el("p", { class: "chart-aside" });
    this._plot = el("div", { class: "chart-plot", "aria-hidden": "true" });
    this._legend = el("ul", { class: "legend", "aria-hidden": "true" });
    this._table = new ChartTable(title);
    this.element = el(
      "figure",
      {
        class: "chart",
        role: "figure",
        tabindex: "0",
        "aria-label": `${title}. The arrow keys move the cursor.`,
      },
      el("figcaption", {}, this._heading, this._aside),
      this._plot,
      this._legend,
      this._table.element,
    );
    this.element.addEventListener("keydown", (event) => this._key(event));
    this.element.addEventListener("blur", () => this._plotted?.setCursor({ left: -10, top: -10 }));
    root.append(this.element);
    this._signature = "";
    new ResizeObserver(() => this._fit()).observe(this._plot);
  }

  /** A control beside the title. */
  beside(control) {
    this._heading.after(control);
  }

  /** The line below the title. */
  aside(text) {
    setText(this._aside, text);
  }

  /** Draw the data: `data[0]` are the x values, then one list for each series. */
  show(shape, data, range = null) {
    this._shape = shape;
    this._data = data;
    this._range = range;
    const signature = JSON.stringify([
      shape.series.map((one) => [one.label, one.ink, one.scale]),
      shape.axes.map((one) => one.scale),
    ]);
    if (signature !== this._signature || !this._plotted) this._make(signature);
    else this._plotted.setData(data);
    this._table.update(shape, data, this._time);
    this._showLegend();
  }

  /** Draw again with the colours of another theme. */
  recolour() {
    if (this._shape) this._make(this._signature);
  }

  _make(signature) {
    this._signature = signature;
    this._plotted?.destroy();
    const width = this._plot.clientWidth;
    if (!width) {
      this._plotted = null; // made by the first `show` after the panel has become visible
      return;
    }
    this._plotted = new globalThis.uPlot(this._options(width), this._data, this._plot);
    this._items = this._shape.series.map((one) =>
      el(
        "li",
        { hidden: one.quiet },
        swatch(one),
        el("span", { class: "legend-name", text: one.label }),
        el("span", { class: "legend-value" }),
      ),
    );
    setChildren(this._legend, this._items);
  }

  _options(width) {
    const [grid, text] = [{ stroke: colour("line"), width: 1 }, colour("muted")];
    const axes = this._shape.axes.map((one, i) => ({
      scale: one.scale,
      side: one.side ?? 3,
      stroke: text,
      font: FONT,
      size: 52,
      gap: 4,
      grid: { ...grid, show: one.side !== 1 },
      ticks: { show: false },
      incrs: one.incrs,
      values: (_, splits) => splits.map((n) => (n === null ? "" : this._shape.axes[i].format(n))),
    }));
    const y = Object.fromEntries(
      this._shape.axes.map((one, i) => [
        one.scale,
        { range: (plot, low, high) => (this._shape.axes[i].range ?? fromZero)(plot, low, high) },
      ]),
    );
    return {
      width,
      height: this._height,
      padding: [8, 24, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        sync: this._group ? { key: this._group } : undefined,
        drag: { x: false, y: false },
        points: { size: 6 },
      },
      scales: { x: { time: this._time, range: () => this._range ?? ends(this._data[0]) }, ...y },
      axes: [
        {
          stroke: text,
          font: FONT,
          size: 26,
          gap: 4,
          grid: { show: false },
          ticks: { ...grid, size: 4 },
          space: 64,
          values: this._time
            ? (_, splits) => splits.map((s) => (s % 60 ? clock(s) : clock(s).slice(0, 5)))
            : undefined,
        },
        ...axes,
      ],
      series: [{}, ...this._shape.series.map((one) => series(one))],
      bands: this._shape.bands ?? [],
      hooks: { setCursor: [() => this._showLegend()] },
    };
  }

  _fit() {
    const width = this._plot.clientWidth;
    if (!width || !this._shape) return;
    if (!this._plotted) this._make(this._signature);
    else if (this._plotted.width !== width) this._plotted.setSize({ width, height: this._height });
  }

  /** The values under the cursor, or the newest ones. */
  _showLegend() {
    if (!this._items) return;
    const index = this._plotted?.cursor.idx ?? this._shape.newest ?? this._data[0].length - 1;
    this._shape.series.forEach((one, i) => {
      const value = (one.own ?? this._data[i + 1])[index];
      setText(this._items[i].lastChild, value === null || value === undefined ? "–" : one.format(value));
    });
    setAttribute(this._legend, "data-at", this._plotted?.cursor.idx ?? null);
  }

  _key(event) {
    if (!this._plotted || event.target !== this.element) return;
    const last = this._shape.newest ?? this._data[0].length - 1;
    const here = this._plotted.cursor.idx ?? last + (event.key === "ArrowLeft" ? 1 : 0);
    let index;
    if (event.key in STEPS) index = here + STEPS[event.key];
    else if (event.key === "Home") index = this._data[0].findIndex((x) => x >= this._plotted.scales.x.min);
    else if (event.key === "End") index = last;
    else if (event.key === "Escape") return this._plotted.setCursor({ left: -10, top: -10 });
    else return;
    event.preventDefault();
    index = Math.min(last, Math.max(0, index));
    const x = this._data[0][index];
    this._plotted.setCursor({ left: this._plotted.valToPos(x, "x"), top: 10 });
    const values = this._shape.series
      .filter((one) => !one.quiet)
      .map((one) => {
        const value = (one.own ?? this._data[this._shape.series.indexOf(one) + 1])[index];
        return `${one.label} ${value === null || value === undefined ? "unknown" : one.format(value)}`;
      });
    this._say(`${this._time ? clock(x) : x}: ${values.join(", ")}`);
  }
}

function fromZero(_, low, high) {
  return [Math.min(0, low ?? 0), high > 0 ? high * 1.08 : 1];
}

function ends(xs) {
  return xs.length > 1 ? [xs[0], xs.at(-1)] : [(xs[0] ?? 0) - 1, (xs[0] ?? 0) + 1];
}

function series(one) {
  return {
    label: one.label,
    scale: one.scale,
    stroke: one.ink ? colour(one.ink) : "transparent",
    fill: one.fill ? colour(one.ink, one.fill) : undefined,
    width: one.width ?? 1.5,
    dash: one.dash,
    points: { show: one.points ?? false, size: 4, fill: one.points ? colour(one.ink) : undefined },
    spanGaps: false,
  };
}

function swatch(one) {
  return el("span", { class: `swatch ink-${one.ink ?? "none"}${one.dash ? " swatch-dash" : ""}` });
}
