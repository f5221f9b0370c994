// A query in read-only SQL on the database of a sink, with its rows and a plot of them.

import { askJson } from "./access.js";
import { DataTable } from "./data_table.js";
import { el, setChildren, setText } from "./dom.js";
import { count } from "./format.js";
import { QueryPlot } from "./query_plot.js";
import { TokenNote } from "./token_form.js";

export class Query {
  constructor(root, { limit = 1000, brief = false, say }) {
    this._limit = limit;
    this._sink = el("select", {});
    this._sql = el("textarea", {
      rows: brief ? "2" : "5",
      spellcheck: "false",
      autocapitalize: "off",
      "aria-label": "SQL",
    });
    this._sql.value = "select * from completeness order by minute desc";
    this._said = el("p", { class: "note", role: "status" });
    const form = el(
      "form",
      { class: "query-form" },
      this._sql,
      el(
        "div",
        { class: "fields" },
        el("label", {}, "in ", this._sink),
        el("button", { type: "submit", text: "Run" }),
        el("span", { class: "note", text: "Ctrl + Enter" }),
      ),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this._run();
    });
    this._sql.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    root.append(form, this._said);
    this._token = new TokenNote(root);
    this._plot = brief ? null : new QueryPlot(root, { say });
    this._table = new DataTable(root, { caption: "Result of the query", empty: "" });
    this._table.show([], []);
    this._names = "";
  }

  update({ status }) {
    const names = status.sinks.map((sink) => sink.name);
    if (names.join("\n") === this._names) return;
    this._names = names.join("\n");
    const wanted = this._sink.value;
    const options = names.map((name) => el("option", { value: name, text: `the database of ${name}` }));
    setChildren(this._sink, [el("option", { value: "", text: "all databases" }), ...options]);
    if (names.includes(wanted)) this._sink.value = wanted;
  }

  recolour() {
    this._plot?.recolour();
  }

  async _run() {
    setText(this._said, "running…");
    try {
      const parameters = new URLSearchParams({ sql: this._sql.value, limit: String(this._limit) });
      if (this._sink.value) parameters.set("sink", this._sink.value);
      const { columns, rows, truncated } = await askJson(`/query?${parameters}`);
      setText(this._said, `${count(rows.length)} rows${truncated ? ", and there are more" : ""}`);
      this._table.show(columns, rows);
      this._plot?.show(columns, rows);
    } catch (error) {
      this._table.show([], []); // the rows of an earlier query are no answer to this one
      this._plot?.show([], []);
      if (error.code === 401) this._token.show();
      setText(this._said, error.code === 401 ? "" : error.message);
    }
  }
}
