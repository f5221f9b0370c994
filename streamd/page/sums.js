// The three sums of the books: what enters, and every fate. docs/reference/books.md defines the terms.

import { total } from "./figures.js";

export const SUMS = [
  {
    unit: "frames",
    says: "received and decoded",
    owner: ["source"],
    enter: ["received"],
    passed: ["decoded"],
    purpose: [],
    inside: ["held", "waiting"],
    rows: (status) => status.sources.map((one) => ({ owner: [one.name], book: one.frames })),
  },
  {
    unit: "records",
    says: "through the pipelines",
    owner: ["pipeline", "source"],
    enter: ["in", "emitted"],
    passed: ["out"],
    purpose: ["filtered", "absorbed"],
    inside: ["in_flight"],
    rows: (status) => status.pipelines.map((one) => ({ owner: [one.name, one.source], book: one.records })),
  },
  {
    unit: "deliveries",
    says: "offered and stored",
    owner: ["sink", "pipeline", "source"],
    enter: ["offered"],
    passed: ["stored"],
    purpose: ["unmatched", "left_out"],
    inside: ["pending"],
    rows: (status) =>
      status.sinks.flatMap((sink) =>
        sink.deliveries.map((one) => ({ owner: [sink.name, one.pipeline, one.source], book: one.records })),
      ),
  },
];

/** The terms on the right side of a sum, in the order of the books. */
export function fates(sum) {
  return [...sum.passed, ...sum.purpose, "rejected", "dropped", ...sum.inside];
}

/** The sum of some terms of a book. */
export function sumOf(book, terms) {
  return terms.reduce((n, term) => n + total(book[term]), 0);
}

/** One book with the sums of all books of a unit. */
export function whole(sum, status) {
  const found = {};
  for (const { book } of sum.rows(status)) {
    for (const term of [...sum.enter, ...fates(sum)]) found[term] = (found[term] ?? 0) + total(book[term]);
  }
  return found;
}

/** What enters minus every fate: zero, or the books are wrong. */
export function difference(sum, book) {
  return sumOf(book, sum.enter) - sumOf(book, fates(sum));
}

/** The verdict on the books in words: {level, text}. */
export function verdict(status) {
  const off = SUMS.some((sum) => sum.rows(status).some(({ book }) => difference(sum, book) !== 0));
  if (status.balanced && !off)
    return { level: "good", text: "✓ Everything is accounted for: the difference is 0." };
  const faults = status.imbalances.length ? `: ${status.imbalances.join("; ")}` : "";
  return { level: "bad", text: `✕ The books do not balance${faults}` };
}
