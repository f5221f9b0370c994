// The newest dead letters: which records were refused, why, and their content; and how to replay them.

import { Refused, askJson } from "./access.js";
import { DataTable } from "./data_table.js";
import { el, setAttribute, setChildren, setText } from "./dom.js";
import { Fetched } from "./fetched.js";
import { clock, count, moment, value } from "./format.js";

const LISTED = ["id", "received_at", "source", "pipeline", "sink", "stage", "reason", "detail", "payload"];
const BRIEF = ["id", "received_at", "source", "reason", "payload"];
const MOST_COUNTED = 10_000;
const FILTERS = ["reason", "source", "stage", "pipeline", "since"];

export class Letters {
  /** `brief` shows a few columns without filters. */
  constructor(root, { most = 100, brief = false } = {}) {
    this._columns = brief ? BRIEF : LISTED;
    this._filters = brief ? [] : FILTERS.map((name) => filter(name, () => this._fetched.ask()));
    if (!brief)
      root.append(
        el(
          "form",
          { class: "fields", onsubmit: (event) => event.preventDefault() },
          ...this._filters.map((one) => one.element),
        ),
      );
    this._letter = el("section", {
      class: "letter",
      hidden: true,
      tabindex: "-1",
      "aria-label": "One dead letter",
    });
    this._table = new DataTable(root, {
      caption: "Newest dead letters",
      empty: "There is no dead letter.",
      sortable: !brief,
      open: (row) => this._open(row[0]),
    });
    this._leftOut = el("p", { class: "note", hidden: true });
    root.append(this._leftOut, this._letter);
    this._fetched = new Fetched(root, {
      path: () => `/dead-letters?${new URLSearchParams([...this._chosen(), ["limit", most]])}`,
      everyS: 5,
      show: ({ letters, left_out: older }) => {
        this._table.show(
          this._columns,
          letters.map((one) => this._columns.map((name) => cell(name, one[name] ?? null, brief))),
        );
        setAttribute(this._leftOut, "hidden", older === 0);
        setText(this._leftOut, leftOut(older));
      },
    });
  }

  update(app) {
    this._fetched.update(app);
  }

  _chosen() {
    return this._filters.map(({ name, input }) => [name, input.value.trim()]).filter(([, text]) => text);
  }

  async _open(id) {
    const close = el("button", {
      type: "button",
      class: "quiet",
      text: "Close",
      onclick: () => (this._letter.hidden = true),
    });
    let content;
    try {
      const letter = await askJson(`/dead-letters/${id}`);
      const { payload, payload_base64: base64, ...others } = letter;
      const list = Object.entries(others).flatMap(([name, found]) => [
        el("dt", { text: name.replaceAll("_", " ") }),
        el("dd", { text: value(found) }),
      ]);
      content = [
        el("dl", {}, ...list),
        el("pre", {
          tabindex: "0",
          role: "region",
          "aria-label": "Payload",
          text: payload ?? `base64: ${base64}`,
        }),
        this._replay(id),
      ];
    } catch (error) {
      content = [el("p", { class: "note", "data-level": "warn", text: error.message })];
    }
    setChildren(this._letter, [
      el("div", { class: "letter-head" }, el("h3", { text: `Dead letter ${id}` }), close),
      ...content,
    ]);
    this._letter.hidden = false;
    this._letter.focus();
  }

  _replay(id) {
    const said = el("p", { role: "status" });
    const command = el("code", { text: `streamd dead-letters replay ${id}` });
    const hint = el("p", { class: "note" }, "In a terminal: ", command);
    const replay = async () => {
      setText(said, "replaying…");
      try {
        const answer = await askJson(`/dead-letters/replay?ids=${id}`, { method: "POST" });
        setText(said, replayed(answer));
        this._fetched.ask();
      } catch (error) {
        const missing = error instanceof Refused && [404, 405].includes(error.code);
        setText(said, missing ? "This daemon replays from the terminal only." : error.message);
      }
    };
    return el(
      "div",
      { class: "letter-replay" },
      el("button", { type: "button", text: "Replay it", onclick: replay }),
      hint,
      said,
    );
  }
}

const FATES = {
  stored: "stored, and no longer here",
  filtered: "filtered, and no longer here",
  rejected: "rejected again: here with the new reason, under a new number",
  kept: "not stored in every sink: still here",
  held: "held by a step whose state a replay does not store: still here",
  impossible: "cannot be replayed",
  not_reached: "not reached: still here",
  unconfirmed: "sent over a connection that broke: the peer may not have read it",
};

/** The answer to a replay in words. */
export function replayed(answer) {
  const parts = Object.keys(FATES)
    .filter((fate) => answer[fate])
    .map((fate) => `${count(answer[fate])} ${FATES[fate]}`);
  const why = Object.keys(answer.why_impossible ?? {});
  return [...parts, ...why].join("; ") || "there is no such dead letter any more";
}

/** How many older letters there are; the daemon counts up to 10,000 of them. */
export function leftOut(older) {
  return `and ${count(older)}${older >= MOST_COUNTED ? " or more" : ""} older`;
}

function cell(name, found, brief) {
  if (name !== "received_at" || found === null) return found;
  return brief ? clock(Date.parse(found) / 1000) : moment(found);
}

function filter(name, onChange) {
  const input = el("input", {
    type: "text",
    size: "12",
    autocomplete: "off",
    spellcheck: "false",
    onchange: onChange,
    placeholder: name === "since" ? "10m" : null,
  });
  return { name, input, element: el("label", {}, `${name} `, input) };
}
