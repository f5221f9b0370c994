// The books in three lines with the same columns: what came in = what became of it, and the difference of both.

import { el, setAttribute, setText } from "./dom.js";
import { count } from "./format.js";
import { SUMS, difference, sumOf, verdict, whole } from "./sums.js";

const COLUMNS = [
  ["in", null, (sum) => sum.enter],
  ["passed on", "=", (sum) => sum.passed],
  ["on purpose", "+", (sum) => sum.purpose],
  ["rejected", "+", () => ["rejected"]],
  ["lost", "+", () => ["dropped"]],
  ["inside", "+", (sum) => sum.inside],
];

export class BooksSummary {
  constructor(root) {
    this._verdict = el("p", { class: "verdict" });
    this._rows = SUMS.map((sum) => {
      const cells = COLUMNS.map(([, , terms], i) =>
        el("td", {
          class: "number",
          title: terms(sum).join(" + ").replaceAll("_", " ") || null,
          "data-column": i,
        }),
      );
      const off = el("td", { class: "number difference" });
      return {
        sum,
        cells,
        off,
        row: el(
          "tr",
          {},
          el("th", { scope: "row" }, sum.unit, el("small", { text: ` ${sum.says}` })),
          ...cells,
          off,
        ),
      };
    });
    const heads = COLUMNS.map(([name, sign]) =>
      el("th", { scope: "col", class: "number", "data-sign": sign, text: name }),
    );
    root.append(
      this._verdict,
      el(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": "Books" },
        el(
          "table",
          { class: "books" },
          el("caption", { class: "visually-hidden", text: "The books: what came in, and what became of it" }),
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              el("th", { scope: "col", text: "unit" }),
              ...heads,
              el("th", { scope: "col", class: "number", text: "difference" }),
            ),
          ),
          el("tbody", {}, ...this._rows.map(({ row }) => row)),
        ),
      ),
    );
  }

  update({ status }) {
    const { level, text } = verdict(status);
    setAttribute(this._verdict, "data-level", level);
    setText(this._verdict, text);
    for (const { sum, cells, off } of this._rows) {
      const book = whole(sum, status);
      COLUMNS.forEach(([name, , terms], i) => {
        const n = sumOf(book, terms(sum));
        setText(cells[i], terms(sum).length ? count(n) : "");
        setAttribute(cells[i], "data-level", name === "lost" && n ? "bad" : null);
      });
      const rest = difference(sum, book);
      setText(off, count(rest));
      setAttribute(off, "data-level", rest === 0 ? "good" : "bad");
    }
  }
}
