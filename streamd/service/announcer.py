"""What the daemon says to systemd while it lives: ready, how it is, that it gets on, that it stops."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import structlog

from streamd.admin.view import View
from streamd.assembly import Assembly
from streamd.config import Config
from streamd.core.now import Now
from streamd.service.progress import Part, Progress
from streamd.service.status_line import DiskOutlook, status_line
from streamd.service.systemd import microseconds, notify
from streamd.sqlite.files import free_bytes

EVERY_S = 3.0
"""Time between two status lines; less where the watchdog wants to hear more often."""
EXTENSION_S = 15.0
"""What is asked for at each turn of a drain: a loop that hangs in it is ended so much later."""
LEAST_PATIENCE_S = 5.0
"""However short the watchdog's interval: a locked database keeps an attempt to commit for a second, and
for another one behind each who waits for the same file."""

log = structlog.get_logger()


class Announcer:
    """Speaks to systemd; does nothing that matters where there is none.

    `WATCHDOG=1` is left out as long as a part stands still (see `parts_of`): systemd then restarts the
    daemon. `watchdog_s` is its interval, None where it has none.
    """

    def __init__(
        self,
        view: View,
        parts: Callable[[float], Iterable[Part]],
        state_dir: Path,
        watchdog_s: float | None,
        send: Callable[..., bool] = notify,
    ) -> None:
        self.every_s = EVERY_S if watchdog_s is None else min(EVERY_S, watchdog_s / 2)
        self._view = view
        self._parts = parts
        self._state_dir = state_dir
        self._watchdog_s = watchdog_s
        self._send = send
        self._progress = Progress(longest_gap_s=2 * self.every_s)
        self._disk = DiskOutlook()
        self._stalled: list[str] = []
        self._drain_until_mono_s = 0.0

    async def run(self) -> None:
        """Speak at once and at every turn, until cancelled."""
        self._send("READY=1", *self.turn(self._view.clock()))
        while True:
            await asyncio.sleep(self.every_s)
            self._send(*self.turn(self._view.clock()))

    def stop(self, until_mono_s: float) -> None:
        """The drain begins, and may take until then."""
        self._drain_until_mono_s = until_mono_s
        self._send("STOPPING=1", *self.turn(self._view.clock()))

    def closing(self, longest_s: float) -> None:
        """All is drained or given up; closing takes this long at most."""
        self._send(f"EXTEND_TIMEOUT_USEC={microseconds(longest_s)}")

    def turn(self, now: Now) -> list[str]:
        """What is to be said now."""
        if self._watchdog_s is not None:
            patience_s = max(self._watchdog_s, LEAST_PATIENCE_S)
            self._judge(self._progress.observe(self._parts(patience_s), now.mono_s))
        said = [f"STATUS={self._status(now)}"]
        if self._watchdog_s is not None and not self._stalled:
            said.append("WATCHDOG=1")
        if now.mono_s < self._drain_until_mono_s:
            said.append(f"EXTEND_TIMEOUT_USEC={microseconds(EXTENSION_S)}")
        return said

    def _judge(self, stalled: list[str]) -> None:
        if stalled and not self._stalled:
            log.error(
                "stalled",
                parts=stalled,
                hint="systemd is told nothing more, and restarts the daemon unless it goes on",
            )
        elif self._stalled and not stalled:
            log.info("goes_on", after=self._stalled)
        self._stalled = stalled

    def _status(self, now: Now) -> str:
        self._view.refresh()
        with suppress(OSError):  # a folder that is gone is what the sinks tell
            self._disk.observe(free_bytes(self._state_dir), now.mono_s)
        line = status_line(self._view.books, self._disk.days_left())
        troubles = [
            f"sink {sink.name} retries ({sink.trouble})" for sink in self._view.sinks() if sink.trouble
        ]
        before = "draining: " if self._view.phase == "draining" else ""
        return "; ".join([before + line, *troubles, *self._stalled])


def parts_of(assembly: Assembly, config: Config, patience_s: float) -> Iterator[Part]:
    """What has to get on. Only what a restart could help is due:

    a sink that writes files while an attempt to commit is under way (one that retries has ended an attempt,
    one whose peer does not read waits for somebody else), and the workers of a source while frames wait and
    no sink makes them wait. A step that waits has its own `timeout`, which is added to their patience.
    """
    for name, delivery in assembly.deliveries.items():
        attempt = delivery.writing
        declared = config.sinks[name].outputs if name in config.sinks else ()
        in_files = any(output.kind != "peer" for output in declared)
        due = in_files and attempt is not None and not attempt.done()
        yield Part(f"sink {name}", "a commit has been under way", due, attempt, patience_s)
    for name, workers in assembly.workers.items():
        stages = [stage for pipeline in workers.pipelines for stage in pipeline.stages]
        offloads = [stage.step.offload for stage in stages if stage.step.offload is not None]
        outputs = [output for pipeline in workers.pipelines for output in pipeline.fanout.outputs]
        held_up = any(output.buffer.when_full == "block" and output.buffer.full for output in outputs)
        yield Part(
            f"pipeline {name}",
            "frames have waited and none was taken",
            any(feed.buffer.records for feed in workers.feeds) and not held_up,
            (workers.progress, sum(feed.frames.decoded for feed in workers.feeds)),
            patience_s + sum(offload.timeout_s for offload in offloads),
        )
