// Windows and models: the measures and counts of every step that has some, and the time of stages.

import { el } from "./dom.js";
import { DataTable } from "./data_table.js";
import { percent } from "./format.js";

export class Steps {
  constructor(root) {
    this._steps = new DataTable(root, {
      caption: "Measures and counters of steps",
      empty: "No step has measures or counters. Windows, models and rules have some.",
    });
    this._time = el("section", {}, el("h3", { text: "Time of the stages" }));
    root.append(this._time);
    this._stages = new DataTable(this._time, { caption: "Time of the stages", empty: "There is no stage." });
  }

  update({ status }) {
    this._showSteps(status.steps.flatMap(measures));
    this._stages.show(
      ["stage", "name", "state", "busy", "blocked", "idle", "in", "out", "under way"],
      status.stages.map((one) => [
        one.kind,
        one.name,
        one.state,
        percent(one.recent.busy),
        percent(one.recent.blocked),
        percent(one.recent.idle),
        one.in,
        one.out,
        one.under_way ?? null,
      ]),
    );
  }

  _showSteps(rows) {
    const parts = rows.some((row) => row[3] !== "");
    const columns = ["pipeline", "step", "measure", "of", "value"].filter((name) => parts || name !== "of");
    this._steps.show(columns, parts ? rows : rows.map((row) => [...row.slice(0, 3), row[4]]));
  }
}

function measures({ pipeline, name, gauges, notes }) {
  const found = [];
  for (const [of, n] of [...Object.entries(gauges), ...Object.entries(notes)]) {
    const parts = typeof n === "object" ? Object.entries(n) : [["", n]];
    for (const [part, value] of parts) found.push([pipeline, name, of.replaceAll("_", " "), part, value]);
  }
  return found;
}
