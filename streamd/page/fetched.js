// A part of the page that asks the daemon for a document of its own, while it is visible.

import { askJson, onToken } from "./access.js";
import { el, setAttribute, setText } from "./dom.js";
import { clock } from "./format.js";
import { TokenNote } from "./token_form.js";

export class Fetched {
  /** Asks for `path()` every `everyS` seconds while `update` is called, and hands the document to `show`. */
  constructor(root, { path, everyS, show }) {
    this._path = path;
    this._everyMs = everyS * 1000;
    this._show = show;
    this._note = el("p", { class: "note" });
    this._token = new TokenNote(root);
    root.append(this._note);
    this._askedMs = -Infinity;
    this._busy = false;
    onToken(() => (this._askedMs = -Infinity));
  }

  /** Ask if it is time. */
  update({ connection }) {
    if (connection.state !== "gone" && performance.now() - this._askedMs >= this._everyMs) this.ask();
  }

  /** Ask now. */
  async ask() {
    if (this._busy) return;
    this._busy = true;
    this._askedMs = performance.now();
    try {
      this._show(await askJson(this._path()));
      this._say(`as of ${clock(Date.now() / 1000)}`, null);
    } catch (error) {
      if (error.code === 401) {
        this._askedMs = Infinity; // again with another token
        this._token.show();
        this._say("", null);
      } else this._say(error.message, "warn");
    } finally {
      this._busy = false;
    }
  }

  _say(text, level) {
    setText(this._note, text);
    setAttribute(this._note, "data-level", level);
  }
}
