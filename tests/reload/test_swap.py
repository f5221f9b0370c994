"""Reloads of a daemon in this process, with its sinks held at will; its books balance at the end."""

import asyncio
import gc
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streamd import registry
from streamd.admin.metrics import Metrics
from streamd.admin.status import status
from streamd.closing_books import differences, summary
from streamd.config import load
from streamd.core.clock import read_clock
from streamd.core.errors import EnvironmentFault
from streamd.core.frames import Frames
from streamd.core.peer import Peer
from streamd.daemon import Daemon
from streamd.ledger.ledger import Ledger
from streamd.reload.changes import Changes, compare
from streamd.reload.swap import Swap, _same_place
from streamd.runtime.backoff import Backoff
from streamd.sources.tcp import Tcp

Until = Callable[[Callable[[], bool]], Awaitable[None]]

CONFIG = """
[daemon]
state_dir = "{state_dir}"
drain_timeout = "{timeout}"
workers = 2
max_batch = 4
[admin]
listen = "none"
[control]
path = "none"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
{floor}
{source}
[pipelines.main]
sources = [{sources}]
sinks = [{sinks}]
steps = [{steps}]
[sinks.main]
type = "sqlite"
path = "main.db"
buffer = {{ max_records = 4 }}
{sink}
"""
PLAIN = {
    "timeout": "30s", "floor": "", "source": "", "sources": '"floor"', "sinks": '"main"', "steps": "",
    "sink": "",
}  # fmt: skip
LATE = '[sources.late]\ntype = "tcp"\nlisten = "127.0.0.1:0"\ncodec = "json"'
COPY = '[sinks.copy]\ntype = "sqlite"\npath = "copy.db"'
STEPS = """
import asyncio
from pathlib import Path

async def wait(record):
    while not (Path(__file__).parent / "go").exists():
        await asyncio.sleep(0.001)
    return record

async def pass_on(record):
    return record
"""


class Running:
    """A daemon with its configuration in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "steps.py").write_text(STEPS)
        self.write()
        self.daemon = Daemon(load(folder / "streamd.toml"))
        self.task: asyncio.Task[int] | None = None

    def write(self, **other: str) -> None:
        text = CONFIG.format(state_dir=self.folder / "var", **(PLAIN | other))
        (self.folder / "streamd.toml").write_text(text)

    async def begin(self, until: Until, **other: str) -> None:
        self.write(**other)
        self.daemon = Daemon(load(self.folder / "streamd.toml"))
        self.task = asyncio.create_task(self.daemon.run())
        await until(lambda: self.daemon.view.phase == "running")

    async def reload(self, **other: str) -> Changes:
        self.write(**other)
        changes = await self.daemon.reloads.ask(asked_by="a test")
        assert isinstance(changes, Changes), changes
        return changes

    def offer(self, *numbers: int, source: str = "floor") -> None:
        payloads = [b'{"n":%d}' % n for n in numbers]
        self.daemon.parts.intakes[source].offer(Frames.of(payloads, "127.0.0.1:5", 1e9))

    async def stored(self, until: Until, n: int, sink: str = "main") -> None:
        books = self.daemon.books
        await until(lambda: sum(each.stored for key, each in books.deliveries.items() if key[2] == sink) >= n)

    async def stop(self) -> int:
        assert self.task is not None
        self.daemon._stop.set()
        code = await asyncio.wait_for(self.task, 30)
        assert differences(self.daemon.books) == []
        return code


@pytest.fixture
async def running(tmp_path: Path, no_database_stays_open: None) -> AsyncIterator[Running]:
    """A daemon that has not begun yet; it is ended whatever a test does."""
    del no_database_stays_open
    thresholds = gc.get_threshold()
    one = Running(tmp_path)
    yield one
    if one.task is not None and not one.task.done():
        one.task.cancel()
        await asyncio.wait({one.task})
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def hold(sink: Any) -> asyncio.Event:
    """Writes of the sink wait until the event is set."""
    gate, write = asyncio.Event(), sink.write

    async def held(batches: Any) -> Any:
        await gate.wait()
        return await write(batches)

    sink.write = held
    return gate


def note_writes(sink: Any, happened: list[Any]) -> None:
    """Each write of the sink adds its number of records when it begins."""
    write = sink.write

    async def noted(batches: Any) -> Any:
        happened.append(sum(map(len, batches)))
        return await write(batches)

    sink.write = noted


def step(name: str) -> str:
    return f'{{ type = "python", function = "steps.py:{name}", timeout = "600s" }}'


async def test_what_a_reload_gives_up_when_its_time_is_over_is_in_the_books_and_the_rest_goes_on(
    running: Running, until: Until, stays: Any
) -> None:
    await running.begin(until, steps=step("wait"))
    running.offer(1, 2, 3)
    book = running.daemon.books.pipeline("floor", "main")
    await until(lambda: book.in_flight == 3)
    await running.reload(timeout="0.2s", steps=step("pass_on"))
    assert (book.dropped, book.in_flight) == ({"reload": 3}, 0)
    (running.folder / "go").touch()
    running.offer(4, 5)
    await running.stored(until, 2)
    await stays(lambda: book.out == 2, 0.05)
    assert await running.stop() == 0
    assert (book.taken_in, book.out, book.dropped) == (5, 2, {"reload": 3})


async def test_what_a_removed_source_has_read_and_nobody_took_in_time_is_in_the_books(
    running: Running, until: Until
) -> None:
    await running.begin(until, source=LATE, sources='"floor", "late"')
    gate = hold(running.daemon.parts.sinks["main"])
    running.offer(*range(40), source="late")
    late = running.daemon.books.source("late")
    await until(lambda: running.daemon.parts.deliveries["main"].buffer.must_wait)
    await running.reload(timeout="0.2s")
    assert late.waiting == 0
    assert late.dropped["reload"] == 40 - late.decoded > 0
    gate.set()
    assert await running.stop() == 0
    assert running.daemon.books.delivery("late", "main", "main").stored == late.decoded


async def test_a_removed_source_is_finished_where_there_is_time(running: Running, until: Until) -> None:
    await running.begin(until, source=LATE, sources='"floor", "late"')
    running.offer(*range(40), source="late")
    await running.reload()
    assert await running.stop() == 0
    book = running.daemon.books.source("late")
    assert (book.decoded, book.dropped) == (40, {})
    assert running.daemon.books.delivery("late", "main", "main").stored == 40


async def test_a_step_that_stays_goes_on_with_what_it_has_and_one_that_goes_is_closed(
    running: Running, until: Until
) -> None:
    await running.begin(until, steps=f"{step('pass_on')}, {step('wait')}")
    closed: list[str] = []
    for each in running.daemon.parts.pipelines["main"].stages:
        assert each.offloaded is not None
        real = each.offloaded.close

        async def close(name: str = each.name, real: Any = real) -> None:
            closed.append(name)
            await real()

        each.offloaded.close = close  # type: ignore[method-assign]  # it is told
    await running.reload(steps=step("pass_on"))
    await until(lambda: closed == ["python[1]"])
    running.offer(1)
    await running.stored(until, 1)
    assert await running.stop() == 0


async def test_a_sink_that_comes_and_one_that_goes_are_owed_what_was_handed_out_meanwhile(
    running: Running, until: Until
) -> None:
    await running.begin(until)
    running.offer(1, 2)
    await running.stored(until, 2)
    await running.reload(sinks='"main", "copy"', sink=COPY)
    running.offer(3)
    await running.stored(until, 1, "copy")
    await running.reload()
    running.offer(4, 5)
    await running.stored(until, 5)
    assert await running.stop() == 0
    books = running.daemon.books
    assert books.delivery("floor", "main", "copy").offered == 1
    assert books.delivery("floor", "main", "main").offered == 5
    assert not running.daemon.parts.sinks.keys() - {"main"}


async def test_a_sink_that_is_gone_has_written_and_closed_and_the_ledger_hears_of_it(
    running: Running, until: Until, monkeypatch: pytest.MonkeyPatch, stays: Any
) -> None:
    await running.begin(until, sinks='"main", "copy"', sink=COPY)
    copy: Any = running.daemon.parts.sinks["copy"]
    gate = hold(copy)
    gone: list[str] = []
    monkeypatch.setattr(running.daemon, "_forget_sink", gone.append)
    running.offer(1, 2)
    await until(lambda: running.daemon.parts.deliveries["copy"].writing is not None)
    await running.reload()
    await stays(lambda: gone == [], 0.05)
    gate.set()
    await until(lambda: gone == ["copy"])
    assert copy._writer is None
    assert running.daemon.books.delivery("floor", "main", "copy").stored == 2
    assert await running.stop() == 0


async def test_other_settings_of_a_source_hold_at_once_and_it_keeps_its_connections(
    running: Running, until: Until
) -> None:
    await running.begin(until)
    source = running.daemon.parts.sources["floor"]
    changes = await running.reload(
        floor='max_connections = 7\nbuffer = { max_records = 9, when_full = "drop_newest" }'
    )
    assert changes.sources["changed"] == ["floor"]
    assert running.daemon.parts.sources["floor"] is source
    assert source.config.max_connections == 7
    buffer = running.daemon.parts.intakes["floor"].buffer
    assert (buffer.max_records, buffer.when_full) == (9, "drop_newest")
    assert await running.stop() == 0


async def test_a_reload_that_cannot_open_something_closes_what_it_has_opened_and_all_is_as_before(
    running: Running, until: Until
) -> None:
    await running.begin(until)
    daemon = running.daemon
    now, old = daemon.loaded, daemon.parts
    old.intakes["floor"].on_resume(lambda: None)
    waiting_for_room = old.intakes["floor"].buffer.on_room
    running.write(
        source=LATE, sources='"floor", "late"', sinks='"main", "copy", "other"',
        sink=COPY + '\n[sinks.other]\ntype = "file"\npath = "other.ndjson"',
    )  # fmt: skip
    new = load(running.folder / "streamd.toml")
    parts = daemon._assemble(new, daemon.books, (now, old))
    closed: list[str] = []
    for name in ("copy", "other"):

        async def close(name: str = name, real: Any = parts.sinks[name].close) -> None:
            closed.append(name)
            await real()

        parts.sinks[name].close = close  # type: ignore[method-assign]  # it is told

    async def refuse(outlet: Any) -> None:
        del outlet
        parts.intakes["late"].offer(Frames.of([b"{}"] * 3, "127.0.0.1:5", 1e9))
        parts.intakes["floor"].on_resume(lambda: None)
        raise EnvironmentFault("the port is taken")

    parts.sources["late"].open = refuse  # type: ignore[method-assign]  # as a port that was taken just now
    swap = Swap(old, parts, compare(now, old, new, parts), daemon.books, daemon.state)
    with pytest.raises(EnvironmentFault, match="the port is taken"):
        await swap.open()
    assert closed == ["other", "copy"]
    assert old.intakes["floor"].buffer.on_room is waiting_for_room
    late = daemon.books.source("late")
    assert (late.received, late.dropped, late.waiting) == (3, {"shutdown": 3}, 0)
    running.offer(1)
    await running.stored(until, 1)
    assert await running.stop() == 0


async def test_a_sink_on_the_place_of_one_before_begins_when_that_has_ended(
    running: Running, until: Until, stays: Any
) -> None:
    files = '[sinks.{}]\ntype = "file"\npath = "out.ndjson"'
    await running.begin(until, sinks='"main", "before"', sink=files.format("before"))
    gate = hold(running.daemon.parts.sinks["before"])
    running.offer(1, 2)
    await until(lambda: running.daemon.parts.deliveries["before"].writing is not None)
    await running.reload(sinks='"main", "after"', sink=files.format("after"))
    running.offer(3)
    await running.stored(until, 3)
    await stays(lambda: running.daemon.books.delivery("floor", "main", "after").stored == 0, 0.05)
    gate.set()
    await running.stored(until, 1, "after")
    assert await running.stop() == 0
    out = running.daemon.loaded.state_dir / "out.ndjson"
    assert out.read_text().splitlines() == ['{"n":1}', '{"n":2}', '{"n":3}']


async def test_a_table_gets_the_rows_of_the_sink_before_first_whatever_the_next_one_is_called(
    running: Running, until: Until
) -> None:
    table = '[sinks.{}]\ntype = "sqlite"\npath = "shared.db"\ntable = "{}"'
    await running.begin(until, sinks='"main", "before"', sink=table.format("before", "readings"))
    gate = hold(running.daemon.parts.sinks["before"])
    running.offer(1, 2)
    await until(lambda: running.daemon.parts.deliveries["before"].writing is not None)
    await running.reload(sinks='"main", "after"', sink=table.format("after", "Readings"))
    began: list[Any] = []
    note_writes(running.daemon.parts.sinks["after"], began)
    running.offer(3)
    await running.stored(until, 3)
    assert began == []
    gate.set()
    await running.stored(until, 1, "after")
    assert began == [1]
    assert await running.stop() == 0
    with closing(sqlite3.connect(running.daemon.loaded.state_dir / "shared.db")) as connection:
        rows = connection.execute("SELECT record ->> 'n' FROM readings ORDER BY id").fetchall()
    assert rows == [(1,), (2,), (3,)]


async def test_a_sink_that_writes_elsewhere_from_now_on_has_written_its_last_there_first(
    running: Running, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    await running.begin(until, sinks='"main", "copy"', sink=COPY)
    gate = hold(running.daemon.parts.sinks["copy"])
    running.offer(1, 2)
    await until(lambda: running.daemon.parts.deliveries["copy"].writing is not None)
    happened: list[Any] = []
    monkeypatch.setattr(running.daemon, "_forget_sink", happened.append)
    changes = await running.reload(sinks='"main", "copy"', sink=COPY.replace("copy.db", "other.db"))
    assert changes.sinks["replaced"] == ["copy"]
    note_writes(running.daemon.parts.sinks["copy"], happened)
    running.offer(3)
    await running.stored(until, 3)
    assert happened == []
    gate.set()
    await running.stored(until, 3, "copy")
    assert happened == ["copy", 1], "the ledger hears first that the one before is gone"
    assert await running.stop() == 0
    for name, wanted in (("copy", 2), ("other", 1)):
        with closing(sqlite3.connect(running.daemon.loaded.state_dir / f"{name}.db")) as connection:
            assert connection.execute("SELECT count(*) FROM records").fetchall() == [(wanted,)]


class Waiting:
    """A source `late` that a reload has sent to a port that is taken, and how often it has tried."""

    def __init__(self, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken = socket.create_server(("127.0.0.2", 0))
        self.port = self.taken.getsockname()[1]
        self.tries = 0
        self._running = running

        def next_s(_: Backoff) -> float:
            self.tries += 1
            return 0.001

        monkeypatch.setattr(Backoff, "next_s", next_s)

    async def begin(self, until: Until) -> None:
        for address in ("127.0.0.1", "[::]"):
            settings = {"source": LATE.replace("127.0.0.1:0", f"{address}:{self.port}")}
            change = self._running.reload if self._running.task else partial(self._running.begin, until)
            await change(sources='"floor", "late"', **settings)
        await until(lambda: self.tries > 3)

    def send(self, payload: bytes) -> bool:
        """False: nobody listens there."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=20) as sender:
                sender.sendall(payload)
        except ConnectionRefusedError:
            return False
        return True


@pytest.fixture
async def waiting(running: Running, until: Until, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Waiting]:
    late = Waiting(running, monkeypatch)
    with late.taken:
        await late.begin(until)
        yield late


async def test_a_source_whose_port_is_taken_opens_as_soon_as_it_is_free(
    running: Running, waiting: Waiting, until: Until
) -> None:
    running.offer(1)
    await running.stored(until, 1)
    assert not waiting.send(b"")
    waiting.taken.close()
    await until(lambda: waiting.send(b'{"n":2}\n'))
    await running.stored(until, 2)
    assert await running.stop() == 0
    assert running.daemon.books.source("late").decoded == 1


async def test_a_source_that_still_waits_for_its_port_tries_no_more_once_it_is_removed(
    running: Running, waiting: Waiting, until: Until
) -> None:
    changes = await running.reload()
    assert changes.sources["removed"] == ["late"]
    tries = waiting.tries
    waiting.taken.close()
    running.offer(1)
    await running.stored(until, 1)
    assert not waiting.send(b"")
    assert waiting.tries == tries
    assert await running.stop() == 0


def test_two_sinks_on_one_table_have_one_place_however_it_is_spelt(running: Running) -> None:
    def made(type_: str, path: str, table: str = "") -> Any:
        more = f'table = "{table}"' if table else ""
        running.write(sink=f'[sinks.a]\ntype = "{type_}"\npath = "{path}"\n{more}', sinks='"main", "a"')
        return Daemon(load(running.folder / "streamd.toml")).parts.sinks["a"]

    one = made("sqlite", "x.db", "Rows")
    assert _same_place(one, made("sqlite", "./x.db", "rows"))
    assert not _same_place(one, made("sqlite", "x.db", "others"))
    assert not _same_place(one, made("sqlite", "y.db", "rows"))
    assert not _same_place(one, made("file", "x.db"))


TALLY = '''
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from streamd.core.contracts import Step
from streamd.core.settings import Settings


class Tally(Step["Tally.Config"]):
    """Counts records by the parity of `n`."""

    counters: ClassVar[Mapping[str, str]] = {"seen": "records by the parity of `n`"}

    class Config(Settings):
        """How much a record counts."""

        weight: int = Field(1, description="what one record counts")

    def process_one(self, record, now):
        self.context.counters.add("seen", self.config.weight, "odd" if record["n"] % 2 else "even")
        return record
'''


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of somebody else with a step that counts, as pip installs it."""
    site = tmp_path / "site"
    info = site / "tally-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "somebodys_tally.py").write_text(TALLY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tally\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[streamd.steps]\ntally = somebodys_tally:Tally\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "somebodys_tally", raising=False)
    monkeypatch.setattr(registry, "load", registry.load.__wrapped__)  # what it finds here is of this test


async def test_what_a_step_counts_goes_on_over_reloads_and_is_shown_everywhere(
    running: Running, until: Until, other_package: None
) -> None:
    del other_package
    await running.begin(until, steps='{ type = "tally" }')
    daemon = running.daemon
    running.offer(1, 2, 3)
    await running.stored(until, 3)
    first = daemon.parts.pipelines["main"].stages[0].step
    await running.reload(sink="batch = { max_records = 7 }", steps='{ type = "tally" }')
    assert daemon.parts.pipelines["main"].stages[0].step is first
    running.offer(4)
    await running.stored(until, 4)
    await running.reload(steps='{ type = "tally", weight = 10 }')
    assert daemon.parts.pipelines["main"].stages[0].step is not first
    running.offer(5)
    await running.stored(until, 5)
    counted = {"seen": {"odd": 12, "even": 2}}
    document = status(daemon.view, daemon.watch, read_clock(), 0)
    assert document["steps"] == [{"name": "tally[0]", "pipeline": "main", "notes": counted, "gauges": {}}]
    metrics = Metrics(daemon.view, daemon.watch, {}).render("")[0].decode()
    assert "# HELP streamd_step_seen_total records by the parity of `n`\n" in metrics
    assert 'streamd_step_seen_total{pipeline="main",reason="odd",step="tally[0]"} 12.0\n' in metrics
    assert "step main > tally[0]: seen 14 (odd 12, even 2)" in summary(daemon.books)
    assert await running.stop() == 0
    with closing(sqlite3.connect(running.daemon._ledger_file.path)) as ledger:
        rows = ledger.execute(
            "SELECT pipeline, reason, sum(n) FROM ledger WHERE counter = 'seen' GROUP BY 1, 2 ORDER BY 3"
        ).fetchall()
    assert rows == [("main", "tally[0]:even", 2), ("main", "tally[0]:odd", 12)]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("dropped", "has the name of a term of the books"),
        ("in", "has the name of a term of the books"),
        ("in_flight", "has the name of a term of the books"),
        ("retrying", "has the name of a metric of streamd"),
        ("seen_total", "that Prometheus adds"),
        ("Seen", "use a to z"),
        ("seen-late", "use a to z"),
        ("", "use a to z"),
    ],
)
async def test_a_package_whose_step_counts_under_a_name_of_something_else_is_refused(
    running: Running, until: Until, other_package: None, name: str, why: str
) -> None:
    del other_package
    await running.begin(until)
    tally = running.folder / "site" / "somebodys_tally.py"
    tally.write_text(TALLY.replace('"seen"', f'"{name}"'))
    running.write(steps='{ type = "tally" }')
    refused = await running.daemon.reloads.ask(asked_by="a test")
    assert "streamd.toml" in str(refused)
    assert f"the counter {name!r}" in str(refused)
    assert why in str(refused)
    assert await running.stop() == 0


@pytest.mark.parametrize("method", ["__init__", "rehearse", "open", "fields_after"])
async def test_a_reload_with_a_fault_of_a_package_is_refused_and_the_daemon_goes_on(
    running: Running, until: Until, other_package: None, method: str
) -> None:
    del other_package
    await running.begin(until)
    tally = running.folder / "site" / "somebodys_tally.py"
    tally.write_text(TALLY + f"\n    def {method}(self, *_):\n        return {{}}['nothing']\n")
    running.write(steps='{ type = "tally" }')
    refused = await running.daemon.reloads.ask(asked_by="a test")
    assert isinstance(refused, EnvironmentFault)
    assert "KeyError('nothing')" in str(refused)
    assert running.daemon.view.reload_failure is not None
    if method != "open":
        with pytest.raises(EnvironmentFault, match="KeyError"):
            await running.daemon.reloads.dry_run()
    running.offer(1)
    await running.stored(until, 1)
    assert await running.stop() == 0


async def test_a_reload_redacts_the_frames_that_wait(running: Running, until: Until, stays: Any) -> None:
    await running.begin(until)
    gate = hold(running.daemon.parts.sinks["main"])
    for n in range(40):
        running.offer(n)
    book = running.daemon.books.source("floor")
    decoded = 8  # the sink writes four records, and its buffer is full with four
    await until(lambda: book.decoded == decoded)
    await stays(lambda: book.decoded == decoded, 0.05)
    assert book.waiting == 40 - decoded
    changes = await running.reload(floor='redact.rules = [{ fields = ["n"], action = "mask" }]')
    assert changes.sources["changed"] == ["floor"]
    gate.set()
    await running.stored(until, 40)
    await running.reload()
    running.offer(40)
    await running.stored(until, 41)
    assert await running.stop() == 0
    with closing(sqlite3.connect(running.folder / "var" / "main.db")) as connection:
        rows = connection.execute("SELECT peer, record ->> 'n' FROM records ORDER BY id").fetchall()
    plain = [("127.0.0.1:5", n) for n in range(decoded)]
    assert rows == [*plain, *[("127.0.0.0:0", "***")] * (40 - decoded), ("127.0.0.1:5", 40)]


async def test_a_reload_gives_a_running_listener_the_new_key_of_its_senders(
    running: Running, until: Until
) -> None:
    key = running.folder / "key"
    key.write_bytes(b"0123456789abcdef")
    key.chmod(0o600)
    redact = 'redact = { peer = "hash", key = "key" }'
    await running.begin(until, floor=redact)
    peer, parts = Peer("192.0.2.7:5"), running.daemon.parts
    before = parts.sources["floor"].context.shown(peer)
    changes = await running.reload(floor=redact)
    assert changes.sources["kept"] == ["floor"]
    key.write_bytes(b"0123456789abcdeg")
    changes = await running.reload(floor=redact)
    assert changes.sources["changed"] == ["floor"]
    after = running.daemon.parts.sources["floor"].context.shown(peer)
    assert len(before) == len(after) == 32
    assert before != after
    (feed,) = running.daemon.parts.workers["main"].feeds
    assert feed.redaction is not None
    assert feed.redaction.peer is not None
    assert feed.redaction.peer(peer) == after
    assert await running.stop() == 0


async def test_the_ledger_may_be_due_while_sources_are_opened(
    running: Running, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    open_source = Tcp.open

    def due_in_s(ledger: Ledger, wall_s: float) -> float:
        del ledger
        looks.append(wall_s)
        return 0.001

    async def open_late(source: Any, outlet: Any) -> None:
        await until(lambda: len(looks) > 2)
        await open_source(source, outlet)

    monkeypatch.setattr(Ledger, "due_in_s", due_in_s)
    monkeypatch.setattr(Tcp, "open", open_late)
    await running.begin(until)
    assert await running.stop() == 0
