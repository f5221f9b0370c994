// The senders of the last hour with gaps in their numbers, rejected records, or records that failed a rule.

import { DataTable } from "./data_table.js";
import { el, setAttribute, setText } from "./dom.js";
import { Fetched } from "./fetched.js";
import { count } from "./format.js";

export class Senders {
  constructor(root, { most = 1000 } = {}) {
    const table = new DataTable(root, {
      caption: "Senders with gaps, rejections or failed rules",
      times: true,
      empty: "No sender had gaps, rejections or failed rules in the last hour.",
    });
    this._leftOut = el("p", { class: "note", hidden: true });
    root.append(this._leftOut);
    this._fetched = new Fetched(root, {
      path: () => "/senders",
      everyS: 10,
      show: ({ columns, rows, left_out: leftOut = 0 }) => {
        const more = Math.max(0, rows.length - most) + leftOut;
        table.show(columns, rows.slice(0, most));
        setAttribute(this._leftOut, "hidden", more === 0);
        setText(this._leftOut, `and ${count(more)} more`);
      },
    });
  }

  update(app) {
    this._fetched.update(app);
  }
}
