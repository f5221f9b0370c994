// V, the content of one buffer, with its bound and the band in which it is expected to be full.

import { Chart } from "./chart.js";
import { colour } from "./colours.js";
import { el, setAttribute, setChildren } from "./dom.js";
import { buffers } from "./figures.js";
import { bytes, count, duration, percent, short } from "./format.js";

const FULLEST = "";
const POINTS = 24;
const BYTES = Array.from({ length: 40 }, (_, power) => 2 ** power); // steps of the axis
const AHEAD = 0.35; // at most this share of the chart is the future

export class BufferChart {
  constructor(root, { group, say, redraw }) {
    this.chart = new Chart(root, { title: "Buffer", group, say });
    this._choice = el("select", { "aria-label": "Buffer shown", onchange: redraw });
    this.chart.beside(this._choice);
  }

  update({ status, history }, x, cut, range) {
    const all = buffers(status);
    this._offer(all);
    const buffer = this._chosen(all);
    this.chart.aside(buffer ? forecast(buffer) : "there is no buffer");
    if (!buffer) return;
    const byBytes = buffer.outlook
      ? buffer.outlook.bound === "bytes"
      : buffer.bytes / buffer.max_bytes > buffer.records / buffer.max_records;
    const [of, bound, format] = byBytes
      ? ["buffer_bytes", buffer.max_bytes, bytes]
      : ["buffer_records", buffer.max_records, count];
    const values = cut(
      history.level((one) => one.kind === buffer.kind && one.name === buffer.name && one.of === of),
    );
    const future = ahead(
      x.at(-1),
      values.at(-1),
      bound,
      buffer.outlook?.full_in_s ?? null,
      (range[1] - range[0]) * AHEAD,
    );
    const pad = future.x.map(() => null);
    const past = x.map((_, i) => (i === x.length - 1 ? values.at(-1) : null));
    const data = [
      [...x, ...future.x],
      [...values, ...pad],
      [...x, ...future.x].map(() => bound),
      ...["low", "median", "high"].map((edge) => [...past, ...future[edge]]),
    ];
    const end = future.x.length ? future.x.at(-1) : range[1];
    this.chart.show(
      {
        ...shape(format, byBytes, Math.max(bound * 0.02, ...values, ...future.low), bound),
        newest: x.length - 1,
      },
      data,
      [range[0] + (end - range[1]), end],
    );
  }

  _offer(all) {
    const keys = [FULLEST, ...all.map((one) => `${one.kind} ${one.name}`)];
    if (this._keys === keys.join("\n")) return;
    this._keys = keys.join("\n");
    const wanted = this._choice.value;
    setChildren(
      this._choice,
      keys.map((key) => el("option", { value: key, text: key === FULLEST ? "the fullest" : key })),
    );
    this._choice.value = keys.includes(wanted) ? wanted : FULLEST;
    setAttribute(this._choice, "hidden", all.length < 2);
  }

  _chosen(all) {
    const named = all.find((one) => `${one.kind} ${one.name}` === this._choice.value);
    return named ?? all.reduce((most, one) => (most === null || one.fill > most.fill ? one : most), null);
  }
}

/** The forecast in words. */
function forecast(buffer) {
  const parts = [`${buffer.kind} ${buffer.name} ${percent(buffer.fill)}`];
  const { outlook } = buffer;
  if (outlook?.full_in_s) {
    const { low, median, high } = outlook.full_in_s;
    const band = `${duration(low)} to ${high === null ? "never" : duration(high)}`;
    parts.push(median <= 0 ? "is full" : `full in ${duration(median)} (${band})`);
  } else if (outlook?.forecast === "no") parts.push("no forecast yet");
  else if (outlook) parts.push("not filling");
  return parts.join(" · ");
}

/** The lines from the content now to the bound, at the earliest, likely and latest time. */
function ahead(nowS, content, bound, fullIn, mostS) {
  const found = { x: [], low: [], median: [], high: [] };
  if (fullIn === null || content === null) return found;
  const spanS = Math.min(mostS, Math.max(10, (fullIn.high ?? fullIn.median * 2) * 1.1));
  const at = (t, s) =>
    s === null ? content : Math.min(bound, content + ((bound - content) * t) / Math.max(s, 0.001));
  for (let i = 1; i <= POINTS; i += 1) {
    const t = (spanS * i) / POINTS;
    found.x.push(nowS + t);
    for (const edge of ["low", "median", "high"]) found[edge].push(at(t, fullIn[edge]));
  }
  return found;
}

function shape(format, byBytes, most, bound) {
  const scale = byBytes ? "bytes" : "records";
  const show = (n) => (byBytes ? bytes(n) : short(n));
  const top = most > bound * 0.4 ? bound * 1.05 : most * 1.25;
  return {
    axes: [{ scale, incrs: byBytes ? BYTES : undefined, format: show, range: () => [0, Math.max(top, 1)] }],
    series: [
      { label: "content", ink: "received", scale, format, fill: 0.12 },
      { label: "bound", ink: "lost", scale, format, dash: [6, 4], width: 1 },
      { label: "earliest", ink: "forecast", scale, format, width: 0.75, quiet: true },
      { label: "expected", ink: "forecast", scale, format, dash: [3, 3], width: 1.5, quiet: true },
      { label: "latest", ink: "forecast", scale, format, width: 0.75, quiet: true },
    ],
    bands: [{ series: [3, 5], fill: () => colour("forecast", 0.16) }],
  };
}
