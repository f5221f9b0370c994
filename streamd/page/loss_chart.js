// Losses a second, stacked by reason, with the kernel's; and apart from them, what filters removed on purpose.

import { Chart } from "./chart.js";
import { colour } from "./colours.js";
import { filtered, kernelDropped, overflowed, rejected } from "./figures.js";
import { rate, short } from "./format.js";

const INKS = ["lost", "lost-2", "lost-3", "lost-4"];

export class LossChart {
  constructor(root, { group, say }) {
    this.chart = new Chart(root, { title: "Lost and removed", group, say });
  }

  update({ history }, x, cut, range) {
    const layers = [{ label: "kernel", ink: "kernel", wanted: kernelDropped }];
    const reasons = history.reasons(overflowed);
    reasons.forEach((reason, i) => {
      layers.push({
        label: reason ? reason.replaceAll("_", " ") : "dropped",
        ink: INKS[Math.min(i, INKS.length - 1)],
        wanted: (one) => overflowed(one) && one.reason === reason,
      });
    });
    layers.push({ label: "rejected", ink: "rejected", wanted: rejected });
    const sums = new Array(x.length).fill(0);
    let most = 0;
    const stack = layers.map((layer) => {
      const own = cut(history.rate(layer.wanted));
      own.forEach((value, i) => (sums[i] += value ?? 0));
      return { ...layer, own, upTo: [...sums] };
    });
    for (const n of sums) most = Math.max(most, n);
    const removed = cut(history.rate(filtered));
    const calm = most === 0;
    this.chart.aside(calm ? "nothing was lost or rejected in this time" : "stacked by reason");
    this.chart.show(shape(stack, calm), [x, ...stack.map((one) => one.upTo), removed], range);
  }
}

function shape(stack, calm) {
  const series = stack.map((one) => ({
    label: one.label,
    ink: one.ink,
    scale: "lost",
    format: rate,
    width: calm ? 0 : 1,
    own: one.own,
  }));
  const bands = stack
    .map((one, i) => (i === 0 ? null : { series: [i + 1, i], fill: () => colour(one.ink, 0.45) }))
    .filter(Boolean);
  series[0].fill = 0.45;
  return {
    axes: [
      { scale: "lost", format: short },
      { scale: "filtered", format: short, side: 1 },
    ],
    series: [
      ...series,
      {
        label: "filtered (on purpose, right)",
        ink: "filtered",
        scale: "filtered",
        format: rate,
        dash: [2, 3],
        width: 1.25,
      },
    ],
    bands,
  };
}
