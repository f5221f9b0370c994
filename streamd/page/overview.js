// The overview: the flow strip, three charts, the books, the senders, and the newest letters, records and rows.

import { BooksSummary } from "./books_summary.js";
import { Charts } from "./charts.js";
import { el } from "./dom.js";
import { Flow } from "./flow.js";
import { Letters } from "./letters.js";
import { Query } from "./query.js";
import { Senders } from "./senders.js";
import { Tap } from "./tap.js";

export class Overview {
  constructor(root, { say, redraw, choose }) {
    const card = (name, title, tab = null) => {
      const more =
        tab &&
        el("button", {
          type: "button",
          class: "link",
          text: "more",
          "aria-label": `more: ${title}`,
          onclick: () => choose(tab),
        });
      const found = el(
        "section",
        { class: `card card-${name}`, "aria-label": title },
        el("div", { class: "card-head" }, el("h2", { text: title }), more),
      );
      root.append(found);
      return found;
    };
    this._flow = new Flow(card("flow", "Flow"));
    this._charts = new Charts(card("charts", "Last minutes"), { say, redraw });
    this._parts = [
      new BooksSummary(card("books", "Books", "books")),
      new Senders(card("senders", "Senders with rejections and gaps", "senders"), { most: 5 }),
      new Letters(card("letters", "Newest dead letters", "dead-letters"), { most: 5, brief: true }),
      new Tap(card("tap", "Tap", "tap"), { most: 5, brief: true }),
      new Query(card("query", "Query", "query"), { limit: 5, brief: true, say }),
    ];
  }

  update(app) {
    this._flow.update(app);
    this._charts.update(app);
    for (const part of this._parts) part.update(app);
  }

  recolour() {
    this._charts.recolour();
  }
}
