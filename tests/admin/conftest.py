"""A view on books that a test fills, and a server that shows it."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from streamd.admin.backing import Backing
from streamd.admin.server import AdminServer
from streamd.admin.view import BufferGauge, SinkGauge, SourceGauge, View
from streamd.admin.watch import Watch
from streamd.core.books import Books
from streamd.core.histogram import Histogram
from streamd.core.now import Now
from tests.backing import Work, backing_in


class Clock:
    """Both clocks, moved by the test."""

    def __init__(self) -> None:
        self.now = Now(1_700_000_000.0, 1000.0)

    def __call__(self) -> Now:
        return self.now

    def pass_s(self, seconds: float) -> Now:
        """Later by so much."""
        self.now = Now(self.now.wall_s + seconds, self.now.mono_s + seconds)
        return self.now


class World:
    """What a daemon would show."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.books = Books()
        self.refreshed = 0
        self.latency_s = Histogram((0.01, 0.1, 1.0))
        self.buffers: list[BufferGauge] = []
        self.sinks = [SinkGauge("readings", None, 0.0, 999.0, self.latency_s)]
        self.sources = [SourceGauge("lab", ("127.0.0.1:9999",), 3)]
        self.dead_letters = Counter({"kept": 2, "evicted": 1})
        self.view = View(
            books=self.books,
            refresh=self._refresh,
            buffers=lambda: self.buffers,
            sinks=lambda: self.sinks,
            sources=lambda: self.sources,
            dead_letters=self.dead_letters,
            clock=self.clock,
            version="1.2.3",
            run_id="run-1",
            started_at_wall_s=1_699_999_000.0,
            config_path="/etc/streamd/streamd.toml",
            phase="running",
        )

    def _refresh(self) -> None:
        self.refreshed += 1

    def fill_books(self) -> None:
        """Every number the books know, each different, and in balance with the buffers."""
        frames = self.books.source("lab")
        frames.received, frames.decoded = 1000, 900
        frames.rejected["json:syntax"] = 40
        frames.dropped["buffer_full"] = 50
        for counter in (
            "discarded_bytes", "kernel_dropped", "truncated", "unterminated", "incomplete",
            "oversize_dropped", "empty_frames", "framing_errors", "connections", "connections_refused",
            "connections_closed", "auto_fallback", "unread_bytes", "files_rotated", "files_truncated",
            "files_missed", "files_skipped", "files_replaced", "files_deleted",
            "generated_gaps", "tls_failed", "proxy_failed", "joined_lines", "divided_messages",
        ):  # fmt: skip
            frames.counters.add(counter, 7)
        records = self.books.pipeline("lab", "main")
        records.taken_in, records.emitted, records.out = 910, 5, 800
        records.filtered, records.absorbed = 90, 3
        records.rejected["calibrate"] = 2
        records.dropped["shutdown"] = 1
        delivery = self.books.delivery("lab", "main", "readings")
        delivery.offered, delivery.stored, delivery.replaced = 800, 700, 30
        delivery.unmatched, delivery.rejected = 20, 10
        delivery.dropped["buffer_full"] = 5
        self.books.sink("readings").add("extra_dropped", 4)
        self.latency_s.observe(0.05, 700)
        self.buffers = [
            BufferGauge("lab", "source", 10, 1000, 65536, 1 << 26, "drop_oldest"),
            BufferGauge("readings", "sink", 60, 6000, 65536, 1 << 26, "block"),
        ]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def work() -> Work:
    return Work()


@pytest.fixture
def backing(tmp_path: Path, work: Work) -> Callable[..., Backing]:
    """A daemon's configuration in a folder, with options for `[admin]`."""
    return lambda more="", **options: backing_in(tmp_path, work, more, **options)


@pytest.fixture
def make_server(world: World, backing: Callable[..., Backing]) -> Callable[..., AdminServer]:
    def make(timeout_s: float = 30.0, **options: Any) -> AdminServer:
        made = backing(**{"listen": "127.0.0.1:0", **options})
        return AdminServer(world.view, Watch(world.view), made, timeout_s=timeout_s)

    return make


@pytest.fixture
async def server(
    make_server: Callable[..., AdminServer], request: pytest.FixtureRequest
) -> AsyncIterator[AdminServer]:
    """A server that waits long for its clients, or for the seconds that `parametrize` gives it."""
    server = make_server(timeout_s=getattr(request, "param", 30.0))
    await server.open()
    yield server
    await server.close()
