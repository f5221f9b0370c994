"""Decides whether data flows, for `/readyz`. `/healthz` only shows that the process runs."""

from dataclasses import dataclass

import structlog

from streamd.admin.lag import LoopLag
from streamd.admin.view import SinkGauge, View
from streamd.core.now import Now

WRITE_PATIENCE_S = 1.0
"""How long a sink may be without progress in a write, or retry it. With the wait for a batch before the write
and the time between two looks at `/readyz`, a hung writer shows within two seconds."""
USUAL_WRITES = 3
"""A sink whose writes are slow has more patience: so many times its usual write."""
PATIENCE_S = 5.0
"""How long a blocking buffer may be full or the loop may be late."""
STALL_S = 10.0
"""How long frames may wait without one being decoded."""

log = structlog.get_logger()


@dataclass(slots=True, frozen=True)
class _Write:
    """The write of a sink at the last tick that saw progress in it."""

    began_mono_s: float
    progress: int
    seen_mono_s: float
    """The start of the write, or the tick that found it further on."""


class Readiness:
    """Observes buffers, sinks and sources at each tick, and reports those that have stopped for too long."""

    def __init__(self, view: View, lag: LoopLag) -> None:
        self._view = view
        self._lag = lag
        self._full_since: dict[str, float] = {}
        self._progress: dict[str, tuple[int, float]] = {}  # source → (frames done, since when)
        self._writes: dict[str, _Write] = {}
        self._hung: set[str] = set()

    def observe(self, now: Now) -> None:
        """Observe the buffers and the sinks. Called about twice a second."""
        full: dict[str, float] = {}
        observed: list[str] = []  # a reload may have removed a source
        for buffer in self._view.buffers():
            if buffer.kind == "sink":
                if buffer.full and buffer.when_full == "block":
                    full[buffer.name] = self._full_since.get(buffer.name, now.mono_s)
                continue
            book = self._view.books.source(buffer.name)
            done = book.decoded + book.rejected.total()  # dropped frames are no progress
            before, since_s = self._progress.get(buffer.name, (done, now.mono_s))
            moved = done != before or not buffer.records
            observed.append(buffer.name)
            self._progress[buffer.name] = (done, now.mono_s if moved else since_s)
        self._full_since = full
        self._progress = {name: self._progress[name] for name in observed}
        sinks = list(self._view.sinks())
        writes = {sink.name: self._write(sink, now) for sink in sinks}
        self._writes = {name: write for name, write in writes.items() if write is not None}
        self._report_hung(sinks, now)

    def reasons(self, now: Now) -> list[str]:
        """One short line for each reason why data does not flow. Empty if it flows."""
        found: list[str] = [] if self._view.phase == "running" else [self._view.phase]
        found += self._view.lost_files()
        found += self._view.troubles()
        for sink in self._view.sinks():
            since_s = self._stuck_since(sink, now)
            if since_s is None:
                continue
            if sink.trouble is not None:
                found.append(
                    f"sink {sink.name} has been retrying for {now.mono_s - since_s:.0f} s: {sink.trouble}"
                )
            else:
                found.append(f"a write of sink {sink.name} has hung for {now.mono_s - since_s:.0f} s")
        for name, since_s in self._full_since.items():
            if now.mono_s - since_s > PATIENCE_S:
                found.append(f"the buffer of sink {name} has been full for {now.mono_s - since_s:.0f} s")
        for name, (_, since_s) in self._progress.items():
            if now.mono_s - since_s > STALL_S:
                found.append(f"frames of source {name} have waited for {now.mono_s - since_s:.0f} s")
        if self._lag.worst_s > PATIENCE_S:
            found.append(f"the event loop was {self._lag.worst_s:.1f} s late")
        return found

    def _write(self, sink: SinkGauge, now: Now) -> _Write | None:
        """The write under way and when it last got on."""
        began_s = sink.writing_since_mono_s
        if began_s is None:
            return None
        before = self._writes.get(sink.name)
        if before is None or before.began_mono_s != began_s:
            return _Write(began_s, sink.progress, began_s)
        return before if before.progress == sink.progress else _Write(began_s, sink.progress, now.mono_s)

    def _stuck_since(self, sink: SinkGauge, now: Now) -> float | None:
        """Since when a sink has not written, if that is longer than it may take."""
        write = self._write(sink, now)
        since_s = now.mono_s if write is None else write.seen_mono_s
        if sink.trouble is not None:
            since_s = min(since_s, sink.trouble_since_mono_s)
        # A loop that was late hears late of the end of a write.
        patience_s = max(WRITE_PATIENCE_S, USUAL_WRITES * sink.usual_write_s) + self._lag.worst_s
        return since_s if now.mono_s - since_s > patience_s else None

    def _report_hung(self, sinks: list[SinkGauge], now: Now) -> None:
        """Log the beginning and the end of a hung write. The sink itself logs its retries and their end."""
        hung: set[str] = set()
        for sink in sinks:
            if sink.trouble is not None:
                continue
            since_s = self._stuck_since(sink, now)
            if since_s is None:
                if sink.name in self._hung:
                    log.info("sink_recovered", sink=sink.name, after="hung")
                continue
            hung.add(sink.name)
            if sink.name not in self._hung:
                log.warning("sink_hangs", sink=sink.name, for_s=round(now.mono_s - since_s, 1))
        self._hung = hung
