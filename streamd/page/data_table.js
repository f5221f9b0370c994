// A table of rows of values: sorted by the buttons in its head, its cells kept from one answer to the next.

import { el, setAttribute, setChildren, setText } from "./dom.js";
import { measure, moment, value } from "./format.js";

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:[\d.]+Z$/;
const MOMENT = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/;

export class DataTable {
  /** `open(row)` makes the first cell of each row a button; `times` shows times to the second, in local time;
   * fractions have so many `digits`. */
  constructor(root, { caption, empty, sortable = true, open = null, times = false, digits = 6 }) {
    this._open = open;
    this._digits = digits;
    this._times = times;
    this._sortable = sortable;
    this._head = el("tr");
    this._body = el("tbody");
    this._empty = el("p", { class: "empty", text: empty, hidden: true });
    this._scroll = el(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      el(
        "table",
        { class: "data" },
        el("caption", { class: "visually-hidden", text: caption }),
        el("thead", {}, this._head),
        this._body,
      ),
    );
    root.append(this._scroll, this._empty);
    this._columns = [];
    this._sort = null;
  }

  /** Show rows (lists of values in the order of `columns`, which are names). */
  show(columns, rows) {
    if (JSON.stringify(columns) !== JSON.stringify(this._columns)) this._setColumns(columns);
    this._rows = rows;
    this._numeric = columns.map((_, i) => isNumeric(rows.map((row) => row[i])));
    this._empty.hidden = rows.length > 0;
    this._scroll.hidden = rows.length === 0;
    this._draw();
  }

  _setColumns(columns) {
    this._columns = columns;
    this._sort = null;
    setChildren(this._body, []);
    setChildren(
      this._head,
      columns.map((name, i) =>
        el(
          "th",
          { scope: "col" },
          this._sortable
            ? el("button", { type: "button", class: "sort", text: name, onclick: () => this._by(i) })
            : name,
        ),
      ),
    );
  }

  _by(column) {
    const down = this._sort?.column === column ? !this._sort.down : this._numeric[column];
    this._sort = { column, down };
    this._draw();
  }

  _draw() {
    const rows = this._sort === null ? this._rows : this._rows.toSorted((a, b) => this._compared(a, b));
    [...this._head.children].forEach((head, i) => {
      setAttribute(head, "class", this._numeric[i] ? "number" : null);
      setAttribute(
        head,
        "aria-sort",
        this._sort?.column === i ? (this._sort.down ? "descending" : "ascending") : null,
      );
    });
    while (this._body.children.length > rows.length) this._body.lastChild.remove();
    rows.forEach((row, r) => {
      const line = this._body.children[r] ?? this._body.appendChild(this._line());
      line.values = row;
      row.forEach((found, i) => {
        const cell = line.children[i];
        const text = this._text(found, i);
        setText(i === 0 && this._open ? cell.firstChild : cell, text);
        setAttribute(cell, "class", this._numeric[i] ? "number" : MOMENT.test(text) ? "moment" : null);
      });
    });
  }

  _text(found, i) {
    const isNumber = typeof found === "number" && !(this._open && i === 0); // the number of a letter is a name
    if (this._times && ISO.test(found)) return moment(found);
    return isNumber ? measure(found, this._digits) : value(found);
  }

  _line() {
    const line = el("tr");
    this._columns.forEach((_, i) => {
      const button =
        i === 0 && this._open
          ? el("button", { type: "button", class: "link", onclick: () => this._open(line.values) })
          : null;
      line.append(el("td", {}, button));
    });
    return line;
  }

  _compared(a, b) {
    const { column, down } = this._sort;
    const [x, y] = [a[column], b[column]];
    if (x === null || y === null) return (x === null) - (y === null);
    const order =
      typeof x === "number" && typeof y === "number"
        ? x - y
        : String(x).localeCompare(String(y), "en", { numeric: true });
    return down ? -order : order;
  }
}

/** Whether some of the values are numbers, and all others are missing. */
function isNumeric(column) {
  const there = column.filter((found) => found !== null);
  return (
    there.length > 0 &&
    there.every((found) => typeof found === "number" || (typeof found === "string" && found.endsWith(" %")))
  );
}
