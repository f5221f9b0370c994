// Every book as a line of a table that reads as a sum, with the difference, and its losses by reason.

import { el, setAttribute, setChildren, setText } from "./dom.js";
import { total } from "./figures.js";
import { count } from "./format.js";
import { SUMS, difference, fates, verdict, whole } from "./sums.js";

const SELDOM = new Set(["emitted", "absorbed", "held", "unmatched", "left_out", "filtered"]);

export class Books {
  constructor(root) {
    this._verdict = el("p", { class: "verdict" });
    this._tables = SUMS.map((sum) => new SumTable(sum));
    this._reasons = el("ul", { class: "reasons" });
    root.append(
      this._verdict,
      ...this._tables.map((table) => table.element),
      el("h3", { text: "Losses and rejections by reason" }),
      this._reasons,
    );
  }

  update({ status }) {
    const { level, text } = verdict(status);
    setAttribute(this._verdict, "data-level", level);
    setText(this._verdict, text);
    for (const table of this._tables) table.update(status);
    const texts = reasons(status);
    while (this._reasons.children.length > texts.length) this._reasons.lastChild.remove();
    texts.forEach((line, i) =>
      setText(this._reasons.children[i] ?? this._reasons.appendChild(el("li")), line),
    );
  }
}

/** A line for each loss and rejection. */
function reasons(status) {
  const found = [];
  for (const sum of SUMS) {
    for (const { owner, book } of sum.rows(status)) {
      for (const of of ["rejected", "dropped"]) {
        const parts = typeof book[of] === "object" ? Object.entries(book[of]) : [];
        for (const [reason, n] of parts)
          if (n) found.push(`${owner.join(" · ")}: ${count(n)} ${sum.unit} ${of} (${reason})`);
      }
      if (book.kernel_dropped)
        found.push(
          `${owner.join(" · ")}: ${count(book.kernel_dropped)} datagrams dropped by the kernel, in no sum`,
        );
    }
  }
  return found.length ? found : ["none"];
}

class SumTable {
  constructor(sum) {
    this._sum = sum;
    this._shown = "";
    this._head = el("tr");
    this._body = el("tbody");
    this.element = el(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": `Books of ${sum.unit}` },
      el(
        "table",
        { class: "books" },
        el("caption", { text: sum.unit }),
        el("thead", {}, this._head),
        this._body,
      ),
    );
  }

  update(status) {
    const { enter, owner } = this._sum;
    const all = whole(this._sum, status);
    const terms = [...enter, ...fates(this._sum)].filter((term) => all[term] || !SELDOM.has(term));
    const lines = this._sum.rows(status);
    if (lines.length > 1)
      lines.push({ owner: ["all", ...owner.slice(1).map(() => "")], book: all, sums: true });
    this._frame(terms, lines.length);
    lines.forEach((line, i) => {
      const row = this._body.children[i];
      const rest = difference(this._sum, line.book);
      const texts = [...line.owner, ...terms.map((term) => count(total(line.book[term]))), count(rest)];
      texts.forEach((text, j) => setText(row.children[j], text));
      setAttribute(row.lastChild, "data-level", rest === 0 ? "good" : "bad");
      setAttribute(row, "class", line.sums ? "whole" : null);
    });
  }

  _frame(terms, lines) {
    const signature = JSON.stringify([terms, lines]);
    if (signature === this._shown) return;
    this._shown = signature;
    const { enter, owner, passed } = this._sum;
    const sign = (term) => (term === enter[0] ? null : term === passed[0] ? "=" : "+");
    const heads = terms.map((term) =>
      el("th", { scope: "col", class: "number", "data-sign": sign(term), text: term.replaceAll("_", " ") }),
    );
    const names = owner.map((text) => el("th", { scope: "col", text }));
    setChildren(this._head, [
      ...names,
      ...heads,
      el("th", { scope: "col", class: "number", text: "difference" }),
    ]);
    const row = () =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }),
        ...owner.slice(1).map(() => el("td")),
        ...terms.map(() => el("td", { class: "number" })),
        el("td", { class: "number difference" }),
      );
    setChildren(this._body, Array.from({ length: lines }, row));
  }
}
