"""Every asynchronous test runs on uvloop, as the daemon does; those of the sources on asyncio too."""

import asyncio
import gc
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest
import structlog
import uvloop

from streamd import registry
from streamd.closing_books import differences
from streamd.codecs.raw import Raw
from streamd.core.ack import Ack, Status
from streamd.core.acks import Acks
from streamd.core.batch import Batch, Record
from streamd.core.books import Books
from streamd.core.clock import read_clock
from streamd.core.contracts import (
    AnyCodec,
    AnySink,
    Codec,
    Framer,
    Sink,
    SinkContext,
    Step,
    StepContext,
    Written,
)
from streamd.core.counters import Counters
from streamd.core.dead_letter import LetterList
from streamd.core.frames import Frames
from streamd.core.peer import Peer
from streamd.core.settings import BatchSettings, BufferSettings, Settings, SinkSettings, WhenFull
from streamd.core.shared import Shared
from streamd.runtime import delivery
from streamd.runtime.delivery import Delivery
from streamd.runtime.fanout import Fanout, Output
from streamd.runtime.feed import Feed, Route
from streamd.runtime.intake import Intake
from streamd.runtime.pipeline import Pipeline
from streamd.runtime.stage import Stage
from streamd.runtime.worker import Workers
from streamd.sqlite import connection
from streamd.sqlite.database import Database
from tests import declared
from tests.ends_with_us import all_end_with_us

# Programs that tests start inherit what is ignored, as under nohup, and would not hear these signals.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# Servers and daemons would go on if the tests are killed.
all_end_with_us()

# How fast texts are made, or a body runs, says something of the machine that the tests share.
_any_machine = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
# The same examples in each run, so that a change is not blamed for a fault that is older.
hypothesis.settings.register_profile("streamd", _any_machine, derandomize=True)
hypothesis.settings.register_profile("search", _any_machine)
hypothesis.settings.load_profile("streamd")

# A traceback with the values of all variables takes a second or two to write where they are many.
structlog.get_config()["processors"][-1].exception_formatter = structlog.dev.plain_traceback

# A daemon that compiles itself at each start takes a fifth of the CPU of all tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    del config
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    if "/sources/" in item.nodeid or "/net/" in item.nodeid:
        factories["asyncio"] = asyncio.new_event_loop
    return factories


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Show shortly before a test runs out of time what its coroutines await: stacks of threads do not."""
    timer = threading.Timer(0.95 * float(item.config.getini("timeout")), _show_tasks, [item.nodeid])
    timer.daemon = True
    timer.start()
    try:
        return (yield)
    finally:
        timer.cancel()


def _show_tasks(test: str) -> None:
    sys.stderr.write(f"{test} takes too long\n")
    for task in [found for found in gc.get_objects() if isinstance(found, asyncio.Task)]:
        if not task.done():
            task.print_stack(file=sys.stderr)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits for what a thread, a socket or another process brings about; fails when it never does."""
    return _until


async def _stays(condition: Callable[[], bool], for_s: float) -> None:
    loop = asyncio.get_running_loop()
    end_s = loop.time() + for_s
    while loop.time() < end_s:
        assert condition()
        await asyncio.sleep(0.001)
    assert condition()


@pytest.fixture
def stays() -> Callable[[Callable[[], bool], float], Awaitable[None]]:
    """Shows for a time that something does not happen."""
    return _stays


@pytest.fixture
async def no_database_stays_open(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A connection's thread that is left behind by a failed test would keep Python from ending."""
    opened: list[Database] = []
    real = Database.open

    async def open_and_remember(self: Database) -> None:
        opened.append(self)
        await real(self)

    monkeypatch.setattr(Database, "open", open_and_remember)
    yield
    for database in opened:
        await database.recovery.close()


@pytest.fixture
def a_lock_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that somebody else writes into is not waited for."""
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_S", 0.01)


class Authority:
    """Makes certificates: its own is `ca.pem`, the others are signed with it."""

    def __init__(self, folder: Path, name: str = "a test's CA") -> None:
        self.folder = folder
        self.ca = folder / "ca.pem"
        self._key = folder / "ca.key"
        self._openssl(
            "req", "-x509", *_NEW_KEY, "-keyout", self._key, "-out", self.ca, "-days", "3650",
            "-subj", f"/CN={name}",
        )  # fmt: skip

    def issue(
        self, name: str, alternative: str = "DNS:localhost,IP:127.0.0.1", days: int = 365
    ) -> tuple[Path, Path]:
        """Certificate and key, as `NAME.pem` and `NAME.key`; one that exists is replaced."""
        cert, key, request = (self.folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
        names = ["-addext", f"subjectAltName={alternative}"] if alternative else []
        self._openssl("req", *_NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}", *names)
        self._openssl(
            "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key, "-days", str(days),
            "-copy_extensions", "copyall", "-out", cert,
        )  # fmt: skip
        return cert, key

    def _openssl(self, *arguments: str | Path) -> None:
        done = subprocess.run(["openssl", *arguments], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@pytest.fixture(scope="session")
def new_authority() -> Callable[..., Authority]:
    """Makes an authority for certificates in a folder."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates")
    return Authority


class Capture:
    """Keeps every frame; `accepting` False says stop."""

    def __init__(self) -> None:
        self.offered: list[Frames] = []
        self.refused: Counter[str] = Counter()
        self.accepting = True
        self.resume: Callable[[], None] = lambda: None

    def offer(self, frames: Frames) -> bool:
        self.offered.append(frames)
        return self.accepting

    def refuse(self, n: int, reason: str) -> None:
        self.refused[reason] += n

    def ended(self, peer: str) -> None: ...

    def on_resume(self, callback: Callable[[], None]) -> None:
        self.resume = callback

    @property
    def payloads(self) -> list[bytes]:
        return [payload for frames in self.offered for payload in frames.payloads]

    @property
    def peers(self) -> list[str]:
        return [frames.peer(i) for frames in self.offered for i in range(len(frames))]


def pytest_collection_finish() -> None:
    """Spare the collector all that has been imported: a tenth of the time of most tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """A test whose code sets up the log of the process, as commands do, does so for itself only."""
    config = structlog.get_config()
    processors = config["processors"][:]
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    handlers, level = logging.root.handlers[:], logging.root.level
    show = warnings.showwarning
    yield
    logging.captureWarnings(False)
    warnings.showwarning = show
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    config["processors"][:] = processors
    structlog.configure(**config)


@pytest.fixture(autouse=True)
def declared_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A component that counts a name which it has not declared fails its test."""
    add = Counters.add

    def strict(self: Counters, name: str, n: int = 1, reason: str = "") -> None:
        if self.meanings is not None:
            assert name in self.meanings, f"the counter {name!r} is not declared: {sorted(self.meanings)}"
        add(self, name, n, reason)

    monkeypatch.setattr(Counters, "add", strict)
    for contract in (Codec, Framer):
        monkeypatch.setattr(contract, "count", _strictly(contract.count))


def _strictly(count: Callable[..., None]) -> Callable[..., None]:
    def strict(self: Any, name: str, n: int = 1) -> None:
        assert name in self.counters, f"the counter {name!r} is not declared: {sorted(self.counters)}"
        count(self, name, n)

    return strict


OTHER_PACKAGES = [str(Path(__file__).parent / name) for name in ("other_package", "third_party")]
"""Packages of somebody else, laid out as pip installs them."""


@pytest.fixture
def other_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages of somebody else are installed: `knock`, `tally`, `parts`, `count`, `totals`, `delay`."""
    for path in OTHER_PACKAGES:
        monkeypatch.syspath_prepend(path)
    monkeypatch.setattr(registry, "load", registry.load.__wrapped__)  # what it finds here is of this test


class Case(NamedTuple):
    """One component with options; those that it requires and that are not here, a test has to find."""

    type: str
    options: dict[str, Any]

    def __str__(self) -> str:
        return "-".join([self.type, *(str(value) for value in self.options.values())])[:60]


def _options_of(kind: str, name: str) -> list[dict[str, Any]]:
    return declared.options_of(kind, name) if name in registry.names(kind) else [{}]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes a `source_case`, `framing_case` and so on is run with every type that can be named in
    a configuration, once for each entry of `OPTIONS` in the module or in the test of that type.
    """
    for kind in registry.KINDS:
        name = f"{kind.removesuffix('s')}_case"
        if name in metafunc.fixturenames:
            theirs = [
                point.name
                for installed in distributions(path=OTHER_PACKAGES)
                for point in installed.entry_points
                if point.group == f"streamd.{kind}"
            ]
            known = getattr(metafunc.module, "OPTIONS", {})
            cases = [
                Case(found, options)
                for found in [*registry.names(kind), *theirs]
                for options in known.get(found) or _options_of(kind, found)
            ]
            metafunc.parametrize(name, cases, ids=map(str, cases))


@pytest.fixture
def least() -> Callable[[type[Settings]], dict[str, Any]]:
    """Makes a value for each option that a component requires, so that a new one needs no entry anywhere."""
    return declared.least


@pytest.fixture
def capture() -> Capture:
    return Capture()


@pytest.fixture
def batch_of() -> Callable[..., Batch]:
    def make(records: Sequence[Any], **more: Any) -> Batch:
        usual: dict[str, Any] = {
            "source": "lab", "pipeline": "readings", "peers": "127.0.0.1:5", "received_at": 0.0,
        }  # fmt: skip
        schema = more.pop("schema", None)
        if schema is None:
            return Batch.of(list(records), **usual | more)
        return Batch.of(schema.flatten(records), fields=schema.names, **usual | more)

    return make


class Fates:
    """Every ack that was handed out, each with the verdicts that it came back with."""

    def __init__(self) -> None:
        self.verdicts: list[list[Status]] = []

    def ack(self, waiting: Ack | None = None) -> Ack:
        """An ack that passes its verdict on to `waiting`."""
        verdicts: list[Status] = []
        self.verdicts.append(verdicts)

        def settle(status: Status) -> None:
            verdicts.append(status)
            if waiting is not None:
                waiting.settle(status)

        return Ack(settle)

    def follow(self, frames: Frames) -> None:
        """Each run of frames gets an ack of its own; where nobody waits, each frame."""
        runs = [(1, None)] * len(frames) if frames.acks is None else frames.acks.runs
        frames.acks = Acks([(count, self.ack(ack)) for count, ack in runs]) if runs else None

    def assert_each_settled_once(self) -> None:
        assert [len(verdicts) for verdicts in self.verdicts] == [1] * len(self.verdicts)


class Kept(Sink[SinkSettings]):
    """Keeps records, one write at a time, while `gate` is open."""

    def __init__(self, context: SinkContext) -> None:
        super().__init__(SinkSettings(type="kept"), context)
        self.records: list[Record] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def open(self) -> None: ...

    def rehearse(self) -> list[str]:
        return []

    async def close(self) -> None: ...

    async def write(self, batches: Sequence[Batch]) -> Written:
        await self.gate.wait()
        for batch in batches:
            self.records += batch.records
        return Written.whole(len(batches))


class Line:
    """One source's way through the real runtime: intake, codec, steps, delivery and a sink.

    It is the outlet of a source, and watches each ack. `drain` and `abandon` end it as the daemon does.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sink: Callable[[SinkContext], AnySink] = Kept,
        codec: AnyCodec | None = None,
        steps: Sequence[Callable[[StepContext], Step[Any]]] = (),
        when_full: WhenFull = "block",
        max_records: int = 65536,
    ) -> None:
        self.books, self.letters, self.fates = Books(), LetterList(), Fates()
        self.sink = sink(
            SinkContext("store", {}, folder, self.letters, Shared(), self.books.sink("store"), folder)
        )
        buffer = BufferSettings(max_records=max_records, when_full=when_full)
        self.delivery = Delivery(
            "store", self.sink, BatchSettings(max_wait="1ms"), buffer, self.books, read_clock
        )
        self.intake = Intake(buffer, when_full, self.books.source("lab"))
        stages = []
        for n, make in enumerate(steps):
            name = f"step[{n}]"
            counters = self.books.step("main", name)
            stages.append(Stage(name, make(StepContext(name, "main", None, folder, None, counters))))
        fanout = Fanout([Output("store", self.delivery.buffer)], self.books, self.letters)
        self.pipeline = Pipeline("main", stages, fanout, self.letters, read_clock, self.books)
        feed = Feed(
            self.intake.buffer,
            codec or Raw(Raw.Config(), None),
            self.intake.book,
            [Route(self.pipeline, self.books.pipeline("lab", "main"))],
            self.intake.connections,
            taken=self.intake.taken,
        )
        self.workers = Workers([feed], self.letters, read_clock, count=2, max_batch=min(64, max_records))
        self.payloads: list[bytes] = []
        self.flags: list[str] = []
        self.over: list[Peer] = []
        self._tasks: list[asyncio.Task[None]] = []

    def offer(self, frames: Frames) -> bool:
        self.payloads += map(bytes, frames.payloads)
        self.flags += [getattr(payload, "flag", "") for payload in frames.payloads]
        self.fates.follow(frames)
        return self.intake.offer(frames)

    def refuse(self, n: int, reason: str) -> None:
        self.intake.refuse(n, reason)

    def ended(self, peer: Peer) -> None:
        assert not any(peer is other for other in self.over)
        self.over.append(peer)
        self.intake.ended(peer)

    def on_resume(self, callback: Callable[[], None]) -> None:
        self.intake.on_resume(callback)

    def run(self) -> None:
        for stage in self.pipeline.stages:
            stage.open()
        self._tasks = [asyncio.create_task(self.workers.run()), asyncio.create_task(self.delivery.run())]

    async def drain(self) -> None:
        """The source has stopped: everything that waits finds its fate."""
        self.workers.close()
        async with asyncio.timeout(40):
            await self._tasks[0]
            self.delivery.buffer.close()
            await self._tasks[1]
        await self.sink.close()

    async def abandon(self) -> None:
        """The source has stopped, and the time for draining is over."""
        self.workers.close()
        for task in self._tasks:
            task.cancel()
            await asyncio.wait({task}, timeout=10)
        self.intake.abandon()
        self.delivery.abandon()
        for book in (*self.books.records.values(), *self.books.deliveries.values()):
            book.give_up("shutdown")
        await self.sink.close()

    def assert_exact(self) -> None:
        """The books balance, and every frame's ack has come back, once."""
        assert differences(self.books) == []
        assert not self.intake.buffer.records
        self.fates.assert_each_settled_once()


@pytest.fixture
async def new_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Line]]:
    """Makes lines whose folder is `tmp_path`."""
    monkeypatch.setattr(delivery, "LAST_COMMIT_WAIT_S", 0.05)
    made: list[Line] = []

    def make(**options: Any) -> Line:
        made.append(Line(tmp_path, **options))
        return made[-1]

    yield make
    for line in made:
        for task in line._tasks:
            task.cancel()
        await line.sink.close()
