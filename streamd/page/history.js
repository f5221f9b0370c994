// The numbers of the last ten minutes, one sample a second, in the form of the daemon's /history.

const SAMPLES = 600;

const OWNERS = new Set(["source", "pipeline", "sink"]);
const NOT_COUNTED = new Set(["waiting", "in_flight", "pending"]); // follow from the other numbers

/** Series by key. Each has a value for each of `atS`; null stands for a second without a value. */
export class History {
  constructor() {
    this.clear();
  }

  clear() {
    this.leftOut = 0; // series that the daemon did not keep
    this._loaded = false; // the newest sample is one of the daemon's history
    this._whole = false; // the newest sample has every series
    this.atS = [];
    this.seq = [];
    this._series = new Map();
  }

  /** Take samples of the daemon. Those that are here already are skipped. */
  load(document) {
    this.leftOut = document.left_out ?? 0;
    this._loaded = true;
    const n = document.at_wall_s.length;
    const first = document.seq - n + 1;
    for (let i = 0; i < n; i += 1) {
      const seq = first + i;
      if (this.seq.length && seq <= this.seq.at(-1)) continue;
      this._append(seq, document.at_wall_s[i], document.series, (series) => series.values[i]);
      this._whole = false; // for the next samples the daemon says itself which counters began
    }
    this._whole = this.leftOut === 0;
  }

  /** Take the numbers of a status. */
  append(status, nowS) {
    if (this.seq.length && status.seq <= this.seq.at(-1)) return;
    const atS = this.seq.length ? this.atS.at(-1) + (status.seq - this.seq.at(-1)) : nowS;
    this._append(status.seq, atS, numbers(status), (series) => series.value);
    if (this._loaded && this.leftOut) for (const series of this._series.values()) bridge(series);
    this._loaded = false;
    this._whole = true;
  }

  /** The sum of the series that `wanted` selects, at each sample; null where none of them has a value. */
  level(wanted) {
    const sums = new Array(this.atS.length).fill(null);
    for (const series of this._series.values()) {
      if (!wanted(series)) continue;
      series.values.forEach((value, i) => {
        if (value !== null) sums[i] = (sums[i] ?? 0) + value;
      });
    }
    return sums;
  }

  /** The growth of these series as a rate per second, from the previous sample to each sample. */
  rate(wanted) {
    const chosen = [...this._series.values()].filter(wanted);
    return this.seq.map((seq, i) => {
      if (i === 0) return null;
      return chosen.reduce((sum, series) => sum + growth(series, i), 0) / (seq - this.seq[i - 1]);
    });
  }

  /** The newest rate, over the last `seconds`. */
  rateNow(wanted, seconds = 5) {
    const last = this.seq.length - 1;
    if (last < 1) return null;
    let first = last - 1;
    while (first > 0 && this.seq[last] - this.seq[first] < seconds) first -= 1;
    let grown = 0;
    for (const series of this._series.values()) {
      if (wanted(series)) for (let i = first + 1; i <= last; i += 1) grown += growth(series, i);
    }
    return grown / (this.seq[last] - this.seq[first]);
  }

  /** The distinct reasons of the series that `wanted` selects, in the order of their names. */
  reasons(wanted) {
    const found = new Set();
    for (const series of this._series.values()) if (wanted(series)) found.add(series.reason);
    return [...found].sort();
  }

  _append(seq, atS, list, valueOf) {
    this.seq.push(seq);
    this.atS.push(atS);
    const n = this.seq.length;
    for (const one of list) {
      if (!OWNERS.has(one.kind)) continue;
      const key = `${one.kind}\n${one.name}\n${one.of}\n${one.reason}`;
      let series = this._series.get(key);
      if (series === undefined) {
        series = { kind: one.kind, name: one.name, of: one.of, reason: one.reason, values: [] };
        this._series.set(key, series);
      }
      while (series.values.length < n - 1) series.values.push(null);
      series.values[n - 1] = valueOf(one);
      if (this._whole && isCounter(series) && series.values[n - 1] !== null) series.values[n - 2] ??= 0; // it began
    }
    for (const [key, series] of this._series) {
      if (series.values.length < n) series.values.push(null);
      if (n <= SAMPLES) continue;
      series.values.shift();
      if (series.values.every((value) => value === null)) this._series.delete(key);
    }
    if (n > SAMPLES) {
      this.seq.shift();
      this.atS.shift();
    }
  }
}

const isCounter = ({ of }) => !of.startsWith("buffer_");

/** The growth of a counter to a sample from the one before. Unknown growth is none: a total is not the growth of one second. */
function growth({ values }, i) {
  return values[i] === null || values[i - 1] === null ? 0 : Math.max(0, values[i] - values[i - 1]);
}

/** Fill the seconds that the daemon left out of a counter, so that its growth meanwhile is shown. */
function bridge(series) {
  const { values } = series;
  const last = values.length - 1;
  if (!isCounter(series) || last < 1 || values[last] === null || values[last - 1] !== null) return;
  const known = values.findLastIndex((value, i) => i < last && value !== null);
  const from = known < 0 ? values[last] : values[known];
  for (let i = known + 1; i < last; i += 1)
    values[i] = from + ((values[last] - from) * (i - known)) / (last - known);
}

/** The numbers of a status as samples of series: those of the books by source, pipeline and sink, and the buffers. */
export function numbers(status) {
  const found = new Map();
  const add = (kind, name, book) => {
    for (const [of, n] of Object.entries(book)) {
      if (NOT_COUNTED.has(of)) continue;
      const parts = typeof n === "object" ? Object.entries(n) : [["", n]];
      for (const [reason, value] of parts) {
        const key = `${kind}\n${name}\n${of}\n${reason}`;
        const one = found.get(key) ?? { kind, name, of, reason, value: 0 };
        one.value += value;
        found.set(key, one);
      }
    }
  };
  const buffer = (kind, owner) => {
    if (owner.buffer)
      add(kind, owner.name, { buffer_records: owner.buffer.records, buffer_bytes: owner.buffer.bytes });
  };
  for (const source of status.sources) {
    add("source", source.name, source.frames);
    buffer("source", source);
  }
  for (const pipeline of status.pipelines) add("pipeline", pipeline.name, pipeline.records);
  for (const sink of status.sinks) {
    for (const delivery of sink.deliveries) add("sink", sink.name, delivery.records);
    buffer("sink", sink);
  }
  return [...found.values()];
}
