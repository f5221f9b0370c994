"""A real sink that retries for ever makes the daemon not ready, however often it tries."""

import asyncio
import socket
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamd.admin.lag import LoopLag
from streamd.admin.readiness import WRITE_PATIENCE_S, Readiness
from streamd.admin.view import SinkGauge, View
from streamd.core.batch import Batch
from streamd.core.books import Books
from streamd.core.contracts import AnySink, SinkContext
from streamd.core.now import Now
from streamd.core.settings import BatchSettings, BufferSettings
from streamd.core.shared import Shared
from streamd.runtime.backoff import Backoff
from streamd.runtime.delivery import Delivery
from streamd.sinks.sqlite import Sqlite
from streamd.sinks.tcp import Tcp
from streamd.sqlite import recovery
from streamd.sqlite.databases import Databases

RETRIES = 6
LOOK_S = 0.1


class Clock:
    """A tenth of a second later whenever it is looked at."""

    def __init__(self) -> None:
        self.mono_s = 1000.0

    def __call__(self) -> Now:
        self.mono_s += LOOK_S
        return Now(1_700_000_000.0 + self.mono_s, self.mono_s)


class World:
    """A delivery with a sink that cannot write yet, and what shows whether data flows."""

    def __init__(self, sink: AnySink) -> None:
        self.books = Books()
        self.clock = Clock()
        self.delivery = Delivery("out", sink, BatchSettings(), BufferSettings(), self.books, self.clock)
        self.readiness = Readiness(
            View(
                books=self.books, refresh=lambda: None, buffers=tuple, sinks=self._gauges, sources=tuple,
                dead_letters=Counter(), clock=self.clock, version="", run_id="", started_at_wall_s=0.0,
                config_path="", phase="running",
            ),
            LoopLag(self.clock),
        )  # fmt: skip

    def _gauges(self) -> Iterator[SinkGauge]:
        d = self.delivery
        yield SinkGauge(
            d.name, d.trouble, d.trouble_since_mono_s, d.last_commit_mono_s, d.latency_s,
            d.writing_since_mono_s, d.usual_write_s, d.sink.progress,
        )  # fmt: skip

    def reasons(self) -> list[str]:
        """What readiness says, without time passing."""
        return self.readiness.reasons(Now(0.0, self.clock.mono_s))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def removed(path: Path) -> Iterator[None]:
    away = path.rename(path.with_name("away.db"))
    yield
    away.rename(path)


@pytest.fixture
async def trouble(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    a_lock_is_noticed_at_once: None,
    no_database_stays_open: None,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[AnySink, Any]]:
    """A sink, and what keeps it from writing for as long as it is entered."""
    del a_lock_is_noticed_at_once, no_database_stays_open
    monkeypatch.setattr(recovery, "PATIENCE_S", 3600.0)
    monkeypatch.setattr(Backoff, "next_s", lambda _: 0.001)
    context: Any = SinkContext("out", {}, tmp_path, None, Shared(Databases()))  # type: ignore[arg-type]  # no rejects
    keep: Callable[[Path], Any]
    if request.param == "tcp":
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = server.getsockname()

        @contextmanager
        def no_receiver(_: Path) -> Iterator[None]:
            yield
            request.addfinalizer(socket.create_server(address).close)

        sink: AnySink = Tcp(
            Tcp.Config.model_validate({"type": "tcp", "address": "{}:{}".format(*address)}), context
        )
        keep = no_receiver
    else:
        sink = Sqlite(
            Sqlite.Config.model_validate(
                {"type": "sqlite", "path": "out.db", "retention": {"min_free": "0B"}}
            ),
            context,
        )
        keep = {"locked": locked, "removed": removed}[request.param]
    await sink.open()
    yield sink, keep(tmp_path / "out.db")
    await sink.close()


@pytest.mark.parametrize("trouble", ["locked", "removed", "tcp"], indirect=True)
async def test_a_sink_that_retries_for_ever_is_told_from_its_first_attempt_on(
    trouble: tuple[AnySink, Any],
    until: Callable[[Callable[[], bool]], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sink, lasting = trouble
    world = World(sink)
    attempts = 0
    write = sink.write

    async def counted(batches: Any) -> Any:
        nonlocal attempts
        attempts += 1
        world.clock()  # time passes
        return await write(batches)

    monkeypatch.setattr(sink, "write", counted)
    world.books.delivery("s", "p", "out").offered += 1
    with lasting:
        running = asyncio.create_task(world.delivery.run())
        world.delivery.buffer.put(Batch.of([{"n": 1}], "s", "p", "127.0.0.1:5", 1.0, size_bytes=100))
        await until(lambda: world.delivery.trouble is not None)
        since_mono_s = world.delivery.trouble_since_mono_s
        assert world.reasons() == []
        await until(lambda: attempts > WRITE_PATIENCE_S / LOOK_S + RETRIES)
        assert world.delivery.trouble_since_mono_s == since_mono_s
        (reason,) = world.reasons()
        assert reason.startswith("sink out has been retrying for ")
    await until(lambda: world.books.delivery("s", "p", "out").stored == 1)
    assert world.reasons() == []
    world.delivery.buffer.close()
    await running
