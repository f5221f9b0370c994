import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from streamd.admin.view import SinkGauge, View
from streamd.config import load
from streamd.core.batch import Batch
from streamd.core.books import Books
from streamd.core.contracts import Written
from streamd.core.frames import Frames
from streamd.core.histogram import Histogram
from streamd.core.now import Now
from streamd.daemon import Daemon as RealDaemon
from streamd.service.announcer import Announcer, parts_of
from streamd.service.progress import Part

Until = Callable[[Callable[[], bool]], Awaitable[None]]


class Daemon:
    """What an announcer sees of a daemon, in virtual time."""

    def __init__(self, watchdog_s: float | None = 30.0) -> None:
        self.mono_s = 100.0
        self.free_bytes: int | None = 10**9
        self.trouble: str | None = None
        self.commit: object = object()
        self.due = False
        self.sent: list[tuple[str, ...]] = []
        self.view = View(
            books=Books(),
            refresh=lambda: None,
            buffers=lambda: (),
            sinks=lambda: [SinkGauge("db", self.trouble, 0.0, None, Histogram((1.0,)))],
            sources=lambda: (),
            dead_letters=cast("Any", {}),
            clock=lambda: Now(0.0, self.mono_s),
            version="1",
            run_id="run",
            started_at_wall_s=0.0,
            config_path="x",
            phase="running",
            free_bytes=lambda: self.free_bytes,
        )
        self.announcer = Announcer(self.view, self._parts, watchdog_s, send=self._send)

    def _parts(self, patience_s: float) -> list[Part]:
        return [Part("sink db", "a commit has been under way", self.due, self.commit, patience_s)]

    def _send(self, *said: str) -> bool:
        self.sent.append(said)
        return True

    def turns(self, seconds: float) -> list[str]:
        said: list[str] = []
        for _ in range(round(seconds)):
            self.mono_s += 1.0
            said = self.announcer.assignments(self.view.clock())
        return said


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


def test_an_idle_daemon_feeds_the_watchdog(daemon: Daemon) -> None:
    assert daemon.turns(300) == ["STATUS=received 0, lost 0, kernel 0", "WATCHDOG=1"]


def test_a_commit_that_hangs_starves_the_watchdog_and_is_told(daemon: Daemon) -> None:
    daemon.due = True
    assert "WATCHDOG=1" in daemon.turns(30)
    said = daemon.turns(5)
    assert "WATCHDOG=1" not in said
    assert "sink db: a commit has been under way for" in said[0]


def test_a_commit_that_ends_after_all_feeds_it_again(daemon: Daemon) -> None:
    daemon.due = True
    daemon.turns(60)
    daemon.commit = object()
    assert "WATCHDOG=1" in daemon.turns(1)


def test_a_sink_that_retries_is_told_and_no_reason_to_restart(daemon: Daemon) -> None:
    daemon.trouble = "locked"
    said = daemon.turns(300)
    assert said == ["STATUS=received 0, lost 0, kernel 0; sink db retries (locked)", "WATCHDOG=1"]


def test_a_disk_that_fills_is_told(daemon: Daemon) -> None:
    for _ in range(100):
        daemon.free_bytes = None if daemon.free_bytes is None else daemon.free_bytes - 1000
        said = daemon.turns(1)
    assert said == ["STATUS=received 0, lost 0, kernel 0, disk 12 d left", "WATCHDOG=1"]
    daemon.free_bytes = None
    assert daemon.turns(1)[0].startswith("STATUS=received 0")


def test_without_a_watchdog_nothing_is_fed() -> None:
    daemon = Daemon(watchdog_s=None)
    assert daemon.turns(3) == ["STATUS=received 0, lost 0, kernel 0"]


def test_the_time_to_stop_is_extended_only_as_long_as_a_drain_may_take(daemon: Daemon) -> None:
    daemon.view.phase = "draining"
    daemon.announcer.stop(until_mono_s=daemon.mono_s + 10)
    (stopping,) = daemon.sent
    assert stopping[0] == "STOPPING=1"
    assert "STATUS=draining: received 0, lost 0, kernel 0" in stopping
    assert "EXTEND_TIMEOUT_USEC=15000000" in stopping
    assert "EXTEND_TIMEOUT_USEC=15000000" in daemon.turns(9)
    assert not [said for said in daemon.turns(2) if said.startswith("EXTEND")]


def test_a_short_watchdog_is_fed_twice_within_its_interval() -> None:
    assert Daemon(watchdog_s=1.0).announcer.every_s == 0.5


def test_a_short_watchdog_is_not_starved_by_a_database_that_is_locked_for_a_while() -> None:
    daemon = Daemon(watchdog_s=1.0)
    daemon.due = True
    assert "WATCHDOG=1" in daemon.turns(5)
    assert "WATCHDOG=1" not in daemon.turns(5)


async def test_ready_is_said_first_and_the_rest_goes_on(
    until: Callable[[Callable[[], bool]], Awaitable[None]],
) -> None:
    daemon = Daemon(watchdog_s=0.01)
    task = asyncio.create_task(daemon.announcer.run())
    await until(lambda: len(daemon.sent) > 2)
    task.cancel()
    await asyncio.wait({task})
    assert daemon.sent[0][0] == "READY=1"
    assert all("READY=1" not in said and "WATCHDOG=1" in said for said in daemon.sent[1:])


CONFIG = """
[daemon]
workers = 1
max_batch = 1
[admin]
listen = "none"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["lab"]
sinks = ["db", "peer"]
steps = [{steps}]
[sinks.db]
type = "sqlite"
path = "x.db"
buffer = {{ max_records = 4, when_full = "{when_full}" }}
[sinks.peer]
type = "tcp"
address = "127.0.0.1:9"
"""


class Parts:
    """The parts of a daemon that has not opened anything, and what an announcer makes of them."""

    def __init__(self, folder: Path, *, steps: str = "", when_full: str = "block") -> None:
        (folder / "step.py").write_text("async def process(record):\n    return record\n")
        (folder / "streamd.toml").write_text(CONFIG.format(steps=steps, when_full=when_full))
        self.daemon = RealDaemon(load(folder / "streamd.toml"))
        self.parts = self.daemon.parts
        self.workers = self.parts.workers["main"]
        self.intake = self.parts.intakes["lab"]
        self.mono_s = 100.0
        self.announcer = Announcer(
            self.daemon.view,
            lambda patience_s: parts_of(self.parts, self.daemon.loaded.config, patience_s),
            30.0,
            send=lambda *_: True,
        )

    def due(self) -> dict[str, bool]:
        return {part.name: part.due for part in parts_of(self.parts, self.daemon.loaded.config, 30.0)}

    def offer(self, *payloads: bytes) -> None:
        self.intake.offer(Frames.of(list(payloads), "127.0.0.1:5", 1e9))

    def turn(self, seconds: float) -> list[str]:
        self.mono_s += seconds
        return self.announcer.assignments(Now(1e9, self.mono_s))


async def test_a_commit_to_a_file_is_due_until_its_attempt_ends(tmp_path: Path, until: Until) -> None:
    parts = Parts(tmp_path)
    gate = asyncio.Event()

    async def slow(batches: Sequence[Batch]) -> Written:
        await gate.wait()
        return Written.whole(len(batches))

    writing = []
    for name in ("db", "peer"):
        delivery = parts.parts.deliveries[name]
        delivery.sink.write = slow  # type: ignore[method-assign]  # a disk that stands still
        writing.append(asyncio.create_task(delivery.run()))
        delivery.buffer.put(Batch.of([{"a": 1}], "lab", "main", "127.0.0.1:5", 1e9))
    assert parts.due() == {"sink db": False, "sink peer": False, "pipeline main": False}
    await until(lambda: all(each.writing is not None for each in parts.parts.deliveries.values()))
    assert parts.due() == {"sink db": True, "sink peer": False, "pipeline main": False}
    assert "WATCHDOG=1" in parts.turn(1)
    for _ in range(8):
        said = parts.turn(5)
    assert "WATCHDOG=1" not in said
    assert said[0].endswith("; sink db: a commit has been under way for 40 s")
    gate.set()
    await until(lambda: not parts.due()["sink db"])
    assert "WATCHDOG=1" in parts.turn(1)
    for delivery in parts.parts.deliveries.values():
        delivery.buffer.close()
    await asyncio.gather(*writing)


@pytest.mark.parametrize(("when_full", "due"), [("block", False), ("drop_oldest", True)])
def test_frames_that_wait_are_due_unless_a_sink_makes_them_wait(
    tmp_path: Path, when_full: str, due: bool
) -> None:
    parts = Parts(tmp_path, when_full=when_full)
    assert not parts.due()["pipeline main"]
    parts.offer(b"{}")
    assert parts.due()["pipeline main"]
    buffer = parts.parts.deliveries["db"].buffer
    buffer.put(Batch.of([{"a": n} for n in range(4)], "lab", "main", "127.0.0.1:5", 1e9))
    assert parts.due()["pipeline main"] == due
    buffer.take(4)
    assert parts.due()["pipeline main"]


@pytest.mark.parametrize("payload", [b"{", b'{"a":1}'], ids=["bad frames", "good ones"])
async def test_workers_that_get_on_feed_the_watchdog_whatever_the_frames_are(
    tmp_path: Path, payload: bytes
) -> None:
    parts = Parts(tmp_path, when_full="drop_oldest", steps='{ type = "filter", where = "a == 2" }')
    parts.offer(*[payload] * 300)
    running = asyncio.create_task(parts.workers.run())
    await asyncio.sleep(0)
    for _ in range(20):
        before = parts.intake.book.waiting
        while parts.intake.book.waiting == before:
            await asyncio.sleep(0)
        assert parts.due()["pipeline main"]
        assert "WATCHDOG=1" in parts.turn(5)
    waiting = parts.intake.book.waiting
    assert 0 < waiting < 300
    for _ in range(8):
        said = parts.turn(5)  # and nothing is taken meanwhile
    assert "WATCHDOG=1" not in said
    assert said[0].endswith("; pipeline main: frames have waited and none was taken for 40 s")
    assert f"received {300}" in said[0]
    parts.workers.close()
    await running


def test_steps_may_take_their_own_timeouts_beyond_the_patience(tmp_path: Path) -> None:
    step = '{{ type = "python", function = "step.py:process", timeout = "{}" }}'
    parts = Parts(tmp_path, steps=f"{step.format('600s')}, {step.format('20s')}")
    found = {part.name: part for part in parts_of(parts.parts, parts.daemon.loaded.config, 30.0)}
    assert found["pipeline main"].patience_s == 30.0 + 620.0
    assert found["sink db"].patience_s == 30.0
