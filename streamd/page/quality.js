// The view `quality_now` of each database: which rule finds what, in the records of which source.

import { DataTable } from "./data_table.js";
import { el, setChildren } from "./dom.js";
import { Fetched } from "./fetched.js";

export class Quality {
  constructor(root) {
    this._parts = el("div");
    this._tables = new Map();
    root.append(this._parts);
    this._fetched = new Fetched(root, {
      path: () => "/quality",
      everyS: 10,
      show: (answer) => this._show(answer),
    });
  }

  update(app) {
    this._fetched.update(app);
  }

  _show(answer) {
    const parts = answer.map(({ sink, columns, rows }) => {
      if (!this._tables.has(sink)) {
        const part = el("section", {}, el("h3", { text: sink }));
        this._tables.set(sink, {
          part,
          table: new DataTable(part, {
            caption: `Quality in ${sink}`,
            times: true,
            digits: 3,
            empty: "No rule has counted anything.",
          }),
        });
      }
      const { part, table } = this._tables.get(sink);
      table.show(columns, rows);
      return part;
    });
    setChildren(
      this._parts,
      parts.length ? parts : [el("p", { class: "empty", text: "No database has figures of quality." })],
    );
  }
}
