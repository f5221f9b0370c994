import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streamd.admin.view import SinkGauge, View
from streamd.core.books import Books
from streamd.core.histogram import Histogram
from streamd.core.now import Now
from streamd.service.announcer import Announcer, parts_of
from streamd.service.progress import Part


class Daemon:
    """What an announcer sees of a daemon, in virtual time."""

    def __init__(self, state_dir: Path, watchdog_s: float | None = 30.0) -> None:
        self.mono_s = 100.0
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
        )
        self.announcer = Announcer(self.view, self._parts, state_dir, watchdog_s, send=self._send)

    def _parts(self, patience_s: float) -> list[Part]:
        return [Part("sink db", "a commit has been under way", self.due, self.commit, patience_s)]

    def _send(self, *said: str) -> bool:
        self.sent.append(said)
        return True

    def turns(self, seconds: float) -> list[str]:
        said: list[str] = []
        for _ in range(round(seconds)):
            self.mono_s += 1.0
            said = self.announcer.turn(self.view.clock())
        return said


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path)


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


def test_without_a_watchdog_nothing_is_fed(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, watchdog_s=None)
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


def test_a_short_watchdog_is_fed_twice_within_its_interval(tmp_path: Path) -> None:
    assert Daemon(tmp_path, watchdog_s=1.0).announcer.every_s == 0.5


def test_a_short_watchdog_is_not_starved_by_a_database_that_is_locked_for_a_while(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, watchdog_s=1.0)
    daemon.due = True
    assert "WATCHDOG=1" in daemon.turns(5)
    assert "WATCHDOG=1" not in daemon.turns(5)


async def test_ready_is_said_first_and_the_rest_goes_on(
    tmp_path: Path, until: Callable[[Callable[[], bool]], Awaitable[None]]
) -> None:
    daemon = Daemon(tmp_path, watchdog_s=0.01)
    task = asyncio.create_task(daemon.announcer.run())
    await until(lambda: len(daemon.sent) > 2)
    task.cancel()
    await asyncio.wait({task})
    assert daemon.sent[0][0] == "READY=1"
    assert all("READY=1" not in said and "WATCHDOG=1" in said for said in daemon.sent[1:])


def assembly(*, writing: object = None, waiting: int = 0, full: bool = False, timeout_s: float = 0) -> Any:
    buffer = SimpleNamespace(when_full="block", full=full)
    offload = SimpleNamespace(timeout_s=timeout_s) if timeout_s else None
    pipeline = SimpleNamespace(
        steps=[SimpleNamespace(processor=SimpleNamespace(offload=offload))],
        fanout=SimpleNamespace(outputs=[SimpleNamespace(buffer=buffer)]),
    )
    feed = SimpleNamespace(buffer=SimpleNamespace(records=waiting), frames=SimpleNamespace(decoded=7))
    return SimpleNamespace(
        deliveries={"db": SimpleNamespace(writing=writing), "peer": SimpleNamespace(writing=writing)},
        workers={"main": SimpleNamespace(pipelines=[pipeline], feeds=[feed], progress=3)},
    )


def due(**state: Any) -> dict[str, bool]:
    config: Any = SimpleNamespace(sinks={"db": SimpleNamespace(path="x.db"), "peer": SimpleNamespace()})
    return {part.name: part.due for part in parts_of(assembly(**state), config, 30.0)}


async def test_a_commit_to_a_file_is_due_until_its_attempt_ends() -> None:
    attempt = asyncio.get_running_loop().create_future()
    assert due(writing=attempt) == {"sink db": True, "sink peer": False, "pipeline main": False}
    attempt.set_result(None)
    assert not due(writing=attempt)["sink db"]


def test_frames_that_wait_are_due_unless_a_sink_makes_them_wait() -> None:
    assert due(waiting=5)["pipeline main"]
    assert not due(waiting=5, full=True)["pipeline main"]


def test_a_step_may_take_its_own_timeout_beyond_the_patience() -> None:
    config: Any = SimpleNamespace(sinks={})
    *_, workers = parts_of(assembly(timeout_s=600.0), config, 30.0)
    assert workers.patience_s == 630.0
