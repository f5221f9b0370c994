// The configuration that runs, with secrets hidden, and its tests.

import { Refused, askJson } from "./access.js";
import { el, setChildren, setText } from "./dom.js";
import { Fetched } from "./fetched.js";
import { count, moment } from "./format.js";

export class Configuration {
  constructor(root) {
    this._path = el("p", { class: "configuration-path" });
    this._tests = el("ul", { class: "tests" });
    this._run = el("button", { type: "button", text: "Run the tests", onclick: () => this._runTests() });
    this._verdict = el("p", { role: "status" });
    this._report = el("pre", {
      hidden: true,
      tabindex: "0",
      role: "region",
      "aria-label": "Report of the tests",
    });
    this._part = el(
      "section",
      { hidden: true },
      el("h3", { text: "Tests" }),
      this._tests,
      this._run,
      this._verdict,
      this._report,
    );
    this._text = el("pre", {
      class: "configuration-text",
      tabindex: "0",
      role: "region",
      "aria-label": "Configuration",
    });
    root.append(this._path, this._part, this._text);
    this._fetched = new Fetched(root, {
      path: () => "/configuration",
      everyS: 30,
      show: (answer) => this._show(answer),
    });
  }

  update(app) {
    this._fetched.update(app);
  }

  _show({ path, text, loaded_at: loadedAt, tests }) {
    setText(this._path, `${path}, read at ${moment(loadedAt)}`);
    setText(this._text, text);
    const names = tests ?? [];
    this._part.hidden = names.length === 0;
    if (this._names === names.join("\n")) return;
    this._names = names.join("\n");
    setChildren(
      this._tests,
      names.map((name) => el("li", { text: name })),
    );
  }

  async _runTests() {
    this._run.disabled = true;
    setText(this._verdict, "The tests run in a process of their own…");
    try {
      const { passed, failed, report } = await askJson("/tests", { method: "POST" });
      setText(
        this._verdict,
        failed
          ? `✕ ${count(failed)} of ${count(passed + failed)} tests failed`
          : `✓ ${count(passed)} tests passed`,
      );
      setText(this._report, report);
      this._report.hidden = !report;
    } catch (error) {
      const missing = error instanceof Refused && [404, 405].includes(error.code);
      setText(this._verdict, missing ? "Run them in a terminal: streamd test" : error.message);
    } finally {
      this._run.disabled = false;
    }
  }
}
