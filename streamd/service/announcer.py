"""The notifications to systemd while the daemon runs: ready, status, watchdog, stopping."""

import asyncio
from collections.abc import Callable, Iterable, Iterator

import structlog

from streamd.admin.view import View
from streamd.assembly import Assembly
from streamd.config import Config
from streamd.core.now import Now
from streamd.service.progress import Part, Progress
from streamd.service.status_line import DiskOutlook, status_line
from streamd.service.systemd import microseconds, notify

EVERY_S = 3.0
"""Time between two notifications. A watchdog interval below twice this time shortens it."""
EXTENSION_S = 15.0
"""The extension requested with each notification of a drain. systemd kills a hung drain after this time."""
LEAST_PATIENCE_S = 5.0
"""The shortest patience, whatever the watchdog's interval.

A locked database delays an attempt to commit by a second, and by another second for each other sink that
waits for the same file.
"""

log = structlog.get_logger()


class Announcer:
    """Notifies systemd of the daemon's state. Without systemd the notifications have no effect.

    While a part has stalled (see `parts_of`), `WATCHDOG=1` is not sent, so that systemd restarts the daemon.
    `watchdog_s` is the watchdog's interval, or None if it is off.
    """

    def __init__(
        self,
        view: View,
        parts: Callable[[float], Iterable[Part]],
        watchdog_s: float | None,
        send: Callable[..., bool] = notify,
    ) -> None:
        self.every_s = EVERY_S if watchdog_s is None else min(EVERY_S, watchdog_s / 2)
        self._view = view
        self._parts = parts
        self._watchdog_s = watchdog_s
        self._send = send
        self._progress = Progress(longest_gap_s=2 * self.every_s)
        self._disk = DiskOutlook()
        self._stalled: list[str] = []
        self._drain_until_mono_s = 0.0

    @property
    def patience_s(self) -> float | None:
        """How long a part may make no progress; None without a watchdog."""
        return None if self._watchdog_s is None else max(self._watchdog_s, LEAST_PATIENCE_S)

    @property
    def stalled(self) -> list[str]:
        """One line for each part that has stalled, if a watchdog's interval is given."""
        return list(self._stalled)

    async def run(self) -> None:
        """Send `READY=1` at once and a notification every `every_s`, until cancelled."""
        self._send("READY=1", *self.assignments(self._view.clock()))
        while True:
            await asyncio.sleep(self.every_s)
            self._send(*self.assignments(self._view.clock()))

    def stop(self, until_mono_s: float) -> None:
        """Announce the drain, which ends at `until_mono_s` at the latest."""
        self._drain_until_mono_s = until_mono_s
        self._send("STOPPING=1", *self.assignments(self._view.clock()))

    def closing(self, longest_s: float) -> None:
        """Announce the end of the drain. Closing takes at most `longest_s`."""
        self._send(f"EXTEND_TIMEOUT_USEC={microseconds(longest_s)}")

    def assignments(self, now: Now) -> list[str]:
        """The assignments of the notification to send now."""
        if (patience_s := self.patience_s) is not None:
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
                hint="streamd sends no WATCHDOG=1 while it is stalled, so systemd restarts it",
            )
        elif self._stalled and not stalled:
            log.info("goes_on", after=self._stalled)
        self._stalled = stalled

    def _status(self, now: Now) -> str:
        self._view.refresh()
        if (free_bytes := self._view.free_bytes()) is not None:  # the sinks report a missing folder
            self._disk.observe(free_bytes, now.mono_s)
        line = status_line(self._view.books, self._disk.days_left())
        troubles = [
            f"sink {sink.name} retries ({sink.trouble})" for sink in self._view.sinks() if sink.trouble
        ]
        before = "draining: " if self._view.phase == "draining" else ""
        return "; ".join([before + line, *troubles, *self._stalled])


def parts_of(assembly: Assembly, config: Config, patience_s: float) -> Iterator[Part]:
    """The parts that the watchdog observes. A part is due only if a restart could help it:

    - a sink that writes files is due while an attempt to commit is under way. A sink that retries has ended
      its attempt, and a sink to a peer may wait for the peer to read;
    - the workers of a source are due while frames wait and no full sink blocks them. The `timeout` of an
      offloaded step is added to their patience. A search for a record in a batch makes progress with each
      part of the batch.
    """
    for name, delivery in assembly.deliveries.items():
        attempt = delivery.writing
        declared = config.sinks[name].outputs if name in config.sinks else ()
        in_files = any(output.in_files for output in declared)
        due = in_files and attempt is not None and not attempt.done()
        yield Part(f"sink {name}", "a commit has been under way", due, attempt, patience_s)
    for name, workers in assembly.workers.items():
        stages = [stage for pipeline in workers.pipelines for stage in pipeline.stages]
        offloaded = [stage.offloaded for stage in stages if stage.offloaded is not None]
        offloads = [stage.step.offload for stage in stages if stage.step.offload is not None]
        outputs = [output for pipeline in workers.pipelines for output in pipeline.fanout.outputs]
        held_up = any(output.buffer.when_full == "block" and output.buffer.full for output in outputs)
        yield Part(
            f"pipeline {name}",
            "frames have waited and none was taken",
            any(feed.buffer.records for feed in workers.feeds) and not held_up,
            (
                workers.progress,
                sum(feed.frames.decoded for feed in workers.feeds),
                sum(step.progress for step in offloaded),
            ),
            patience_s + sum(offload.timeout_s for offload in offloads),
        )
