// The connection to the daemon: follows its status, notices at once when it ends, and connects again.

import { Refused, askJson } from "./access.js";
import { events } from "./events.js";

const STALE_AFTER_S = 3;
const WAITS_S = [0.5, 1, 2, 3];

/** `state` is connecting, live, stale (no event for 3 s), gone (the connection ended) or refused (401). */
export class Connection {
  /** `onStatus(status)` is called for each event, `onHistory(document)` to fill a gap, `onState()` at a change. */
  constructor({ onStatus, onHistory, onState }) {
    this.state = "connecting";
    this.why = "";
    this._call = { onStatus, onHistory, onState };
    this._lastMs = null;
    this._seq = null;
    this._runId = null;
    this._wake = () => {};
  }

  /** Seconds since the newest event. */
  get ageS() {
    return this._lastMs === null ? 0 : (performance.now() - this._lastMs) / 1000;
  }

  /** Follow the daemon for as long as the page lives. */
  async run() {
    setInterval(() => this._look(), 250);
    for (let failures = 0; ; failures += 1) {
      try {
        await this._follow(() => (failures = 0));
        this._enter("gone", "it closed the connection");
      } catch (error) {
        if (!(error instanceof Refused) && error.name !== "TypeError") console.warn(error);
        if (error.code === 401) this._enter("refused", error.message);
        else this._enter("gone", error.code ? error.message : "it does not answer");
      }
      const waitS = this.state === "refused" ? 3600 : WAITS_S[Math.min(failures, WAITS_S.length - 1)];
      await new Promise((resolve) => {
        this._wake = resolve;
        setTimeout(resolve, waitS * 1000);
      });
    }
  }

  /** Try again at once, for example with a new token. */
  retry() {
    this._wake();
  }

  async _follow(onFirst) {
    const lastId = this._seq ?? undefined;
    const [status, history] = [events("/events", { lastId }), this._missed(lastId)];
    history.catch(() => {}); // the loop below meets the same failure
    let first = true;
    for await (const event of status) {
      const document = JSON.parse(event.data);
      if (first) {
        onFirst();
        first = false;
        const another = this._runId !== null && this._runId !== document.run_id;
        const missed = await (another ? this._missed(undefined) : history).catch(() => null);
        if (missed !== null) this._call.onHistory(missed, another || lastId === undefined);
      }
      this._seq = document.seq;
      this._runId = document.run_id;
      this._lastMs = performance.now();
      this._call.onStatus(document);
      this._enter("live", "");
    }
  }

  _missed(since) {
    return askJson(since === undefined ? "/history?s=600" : `/history?since=${since}`);
  }

  _look() {
    if (this.state === "live" && this.ageS > STALE_AFTER_S) this._enter("stale", "");
    else if (this.state !== "live" && !document.hidden) this._call.onState();
  }

  _enter(state, why) {
    const changed = state !== this.state || why !== this.why;
    this.state = state;
    this.why = why;
    if (changed) this._call.onState();
  }
}
