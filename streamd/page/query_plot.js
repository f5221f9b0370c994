// A plot of the rows of a query: one column along x, and each column of numbers as a line.

import { Chart } from "./chart.js";
import { el, setChildren } from "./dom.js";
import { measure, short } from "./format.js";

const INKS = ["received", "stored", "decoded", "rejected"];
const TIME = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d/;

export class QueryPlot {
  constructor(root, { say }) {
    this._root = el("div", { class: "query-plot", hidden: true });
    root.append(this._root);
    this._say = say;
    this._chart = null;
  }

  /** Plot the rows if one column is a time or a number, and another one a number. */
  show(columns, rows) {
    const kinds = columns.map((_, i) => kind(rows.map((row) => row[i])));
    this._columns = columns;
    this._rows = rows;
    const xs = columns.map((_, i) => i).filter((i) => kinds[i]);
    const first = Math.max(
      0,
      xs.findIndex((i) => kinds[i] === "time"),
    );
    this._kinds = kinds;
    this._root.hidden = rows.length < 2 || xs.length < 2 || !kinds.includes("number");
    if (this._root.hidden) return;
    this._x = el(
      "select",
      { onchange: () => this._draw() },
      ...xs.map((i) => el("option", { value: i, text: columns[i] })),
    );
    this._x.value = String(xs[first]);
    this._draw();
  }

  recolour() {
    this._chart?.recolour();
  }

  _draw() {
    const x = Number(this._x.value);
    const isTime = this._kinds[x] === "time";
    const numbers = this._kinds
      .map((one, i) => (one === "number" && i !== x ? i : -1))
      .filter((i) => i >= 0)
      .slice(0, INKS.length);
    const at = (row) => (isTime ? Date.parse(row[x]) / 1000 : row[x]);
    const rows = this._rows
      .filter((row) => row[x] !== null && Number.isFinite(at(row)))
      .toSorted((a, b) => at(a) - at(b));
    const data = [
      rows.map(at),
      ...numbers.map((i) => rows.map((row) => (typeof row[i] === "number" ? row[i] : null))),
    ];
    setChildren(this._root, []);
    this._chart = new Chart(this._root, {
      title: "Plot of the result",
      time: isTime,
      say: this._say,
      height: 240,
    });
    this._chart.beside(el("label", {}, "along ", this._x));
    const range = (_, low, high) =>
      low === null ? [0, 1] : low === high ? [low - 1, high + 1] : [low, high];
    this._chart.show(
      {
        axes: [{ scale: "y", format: short, range }],
        series: numbers.map((i, n) => ({
          label: this._columns[i],
          ink: INKS[n],
          scale: "y",
          format: measure,
          points: rows.length < 60,
        })),
      },
      data,
    );
  }
}

/** time, number, or null for other columns. */
function kind(values) {
  const found = values.filter((value) => value !== null);
  if (!found.length) return null;
  if (found.every((value) => typeof value === "number")) return "number";
  return found.every((value) => typeof value === "string" && TIME.test(value)) ? "time" : null;
}
