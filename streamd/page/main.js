// Starts the page: follows the daemon and draws the visible panel, at most once a second and only while it is visible.

import { onToken, takeToken } from "./access.js";
import { Books } from "./books.js";
import { forgetColours } from "./colours.js";
import { Configuration } from "./configuration.js";
import { Connection } from "./connection.js";
import { el, setAttribute, setText } from "./dom.js";
import { duration } from "./format.js";
import { Health } from "./health.js";
import { History } from "./history.js";
import { Letters } from "./letters.js";
import { Overview } from "./overview.js";
import { Quality } from "./quality.js";
import { Query } from "./query.js";
import { Senders } from "./senders.js";
import { Steps } from "./steps.js";
import { Tabs } from "./tabs.js";
import { Tap } from "./tap.js";
import { themeSwitch } from "./theme.js";
import { askForToken, placeTokenForm } from "./token_form.js";

const byId = (id) => document.getElementById(id);

takeToken();

const app = { status: null, history: new History(), connection: null };
const health = new Health(byId("health"));
placeTokenForm(byId("access"));
const say = (text) => setText(byId("announcer"), text);
const places = { say, redraw: draw, choose: (name) => tabs.choose(name) };

app.connection = new Connection({
  onStatus: (status) => {
    app.status = status;
    app.history.append(status, Date.now() / 1000);
    draw();
  },
  onHistory: (document, afresh) => {
    if (afresh) app.history.clear();
    app.history.load(document);
  },
  onState: showState,
});

let tabs = null;
tabs = new Tabs(
  byId("tabs"),
  byId("panels"),
  [
    ["overview", "Overview", (root) => new Overview(root, places)],
    ["books", "Books", (root) => new Books(titled(root, "Books"))],
    ["quality", "Quality", (root) => new Quality(titled(root, "Quality"))],
    [
      "senders",
      "Senders",
      (root) => new Senders(titled(root, "Senders with gaps, rejections or failed rules in the last hour")),
    ],
    ["steps", "Windows and models", (root) => new Steps(titled(root, "Windows, models and other steps"))],
    ["dead-letters", "Dead letters", (root) => new Letters(titled(root, "Dead letters"))],
    ["tap", "Tap", (root) => new Tap(titled(root, "Tap"))],
    ["query", "Query", (root) => new Query(titled(root, "Query"), { say })],
    ["configuration", "Configuration", (root) => new Configuration(titled(root, "Configuration"))],
  ],
  draw,
);
byId("theme").append(themeSwitch(recolour));
onToken(() => app.connection.retry());
document.addEventListener("visibilitychange", draw);
app.connection.run();

function titled(root, title) {
  const card = el("section", { class: "card" }, el("h2", { text: title }));
  root.append(card);
  return card;
}

function draw() {
  if (document.hidden) {
    health.title(app);
    return;
  }
  health.update(app);
  if (app.status === null || tabs === null) return;
  const { status } = app;
  const processes = status.processes.length > 1 ? ` · ${status.processes.length} processes` : "";
  setText(
    byId("run"),
    `${status.config} · ${status.phase} for ${duration(Math.floor(status.uptime_s))}${processes} · run ${status.run_id.slice(0, 8)} · streamd ${status.version}`,
  );
  tabs.shown.update(app);
}

function showState() {
  const { state } = app.connection;
  setAttribute(document.body, "data-state", state);
  if (state === "refused") askForToken({ focus: false });
  health.update(app);
}

function recolour() {
  forgetColours();
  for (const one of tabs?.made ?? []) one.recolour?.();
}
