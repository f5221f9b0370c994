// The connections of the flow strip, drawn behind its nodes. Their width grows with the root of their rate.

import { setAttribute, setChildren, svg } from "./dom.js";

const MOST_PX = 14;
const LEAST_PX = 1;

export class FlowLinks {
  constructor() {
    this.element = svg("svg", { class: "flow-links", "aria-hidden": "true" });
    this._paths = new Map();
    this._before = null;
    this._smooth = new Map();
  }

  forget() {
    this._before = null;
    this._smooth.clear();
  }

  /** Take what each connection has carried; true if connections were added or removed. */
  update({ seq, found }) {
    let changed = false;
    for (const key of found.keys()) {
      if (this._paths.has(key)) continue;
      this._paths.set(key, svg("path", { class: "link" }));
      changed = true;
    }
    for (const key of [...this._paths.keys()]) {
      if (found.has(key)) continue;
      this._paths.delete(key);
      changed = true;
    }
    if (changed) setChildren(this.element, [...this._paths.values()]);
    this._widths(seq, found);
    return changed;
  }

  _widths(seq, found) {
    const before = this._before;
    this._before = { seq, found };
    if (before === null || seq <= before.seq) return;
    for (const [key, n] of found) {
      const perSecond = Math.max(0, n - (before.found.get(key) ?? n)) / (seq - before.seq);
      const smooth = this._smooth.get(key) ?? perSecond;
      this._smooth.set(key, smooth + 0.4 * (perSecond - smooth));
    }
    const most = Math.max(1, ...this._smooth.values());
    for (const [key, path] of this._paths) {
      const share = Math.sqrt((this._smooth.get(key) ?? 0) / most);
      setAttribute(path, "stroke-width", (LEAST_PX + share * (MOST_PX - LEAST_PX)).toFixed(1));
      setAttribute(path, "data-flows", share > 0.01 ? "yes" : null);
    }
  }

  /** Lay each connection from the side of one node to the side of the other, or from bottom to top on a phone. */
  place(strip, nodes) {
    const outer = strip.getBoundingClientRect();
    if (!outer.width) return;
    setAttribute(this.element, "viewBox", `0 0 ${outer.width.toFixed(0)} ${outer.height.toFixed(0)}`);
    const box = (key) => {
      const rect = nodes.get(key)?.element.getBoundingClientRect();
      return (
        rect && {
          left: rect.left - outer.left,
          right: rect.right - outer.left,
          top: rect.top - outer.top,
          bottom: rect.bottom - outer.top,
        }
      );
    };
    for (const [key, path] of this._paths) {
      const [from, to] = key.split("\t").map(box);
      setAttribute(path, "d", from && to ? curve(from, to) : null);
    }
  }
}

function curve(from, to) {
  if (to.left >= from.right) {
    const [y1, y2] = [(from.top + from.bottom) / 2, (to.top + to.bottom) / 2];
    const bend = (to.left - from.right) / 2;
    return `M${from.right},${y1} C${from.right + bend},${y1} ${to.left - bend},${y2} ${to.left},${y2}`;
  }
  const [x1, x2] = [(from.left + from.right) / 2, (to.left + to.right) / 2];
  const bend = (to.top - from.bottom) / 2;
  return `M${x1},${from.bottom} C${x1},${from.bottom + bend} ${x2},${to.top - bend} ${x2},${to.top}`;
}
