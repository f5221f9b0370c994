"""Decides whether data flows, for `/readyz`. `/healthz` only shows that the process runs."""

from streamd.admin.lag import LoopLag
from streamd.admin.view import View
from streamd.core.now import Now

PATIENCE_S = 5.0
"""How long a sink may retry, a blocking buffer may be full or the loop may be late."""
STALL_S = 10.0
"""How long frames may wait without one being decoded."""


class Readiness:
    """Observes buffers and sources at each tick, and reports the ones that have stopped for too long."""

    def __init__(self, view: View, lag: LoopLag) -> None:
        self._view = view
        self._lag = lag
        self._full_since: dict[str, float] = {}
        self._progress: dict[str, tuple[int, float]] = {}  # source → (frames done, since when)

    def observe(self, now: Now) -> None:
        """Observe the buffers. Called about twice a second."""
        full: dict[str, float] = {}
        for buffer in self._view.buffers():
            if buffer.kind == "sink":
                if buffer.full and buffer.when_full == "block":
                    full[buffer.name] = self._full_since.get(buffer.name, now.mono_s)
                continue
            book = self._view.books.source(buffer.name)
            done = book.decoded + book.rejected.total()  # dropped frames are no progress
            before, since_s = self._progress.get(buffer.name, (done, now.mono_s))
            moved = done != before or not buffer.records
            self._progress[buffer.name] = (done, now.mono_s if moved else since_s)
        self._full_since = full

    def reasons(self, now: Now) -> list[str]:
        """One short line for each reason why data does not flow. Empty if it flows."""
        found: list[str] = [] if self._view.phase == "running" else [self._view.phase]
        found += self._view.lost_files()
        for sink in self._view.sinks():
            retrying_s = now.mono_s - sink.trouble_since_mono_s
            if sink.trouble is not None and retrying_s > PATIENCE_S:
                found.append(f"sink {sink.name} has been retrying for {retrying_s:.0f} s: {sink.trouble}")
        for name, since_s in self._full_since.items():
            if now.mono_s - since_s > PATIENCE_S:
                found.append(f"the buffer of sink {name} has been full for {now.mono_s - since_s:.0f} s")
        for name, (_, since_s) in self._progress.items():
            if now.mono_s - since_s > STALL_S:
                found.append(f"frames of source {name} have waited for {now.mono_s - since_s:.0f} s")
        if self._lag.worst_s > PATIENCE_S:
            found.append(f"the event loop was {self._lag.worst_s:.1f} s late")
        return found
