"""Every asynchronous test runs on uvloop, as the daemon does; those of the sources on asyncio too."""

import asyncio
import gc
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import uvloop

from streamd import registry
from streamd.core.batch import Batch
from streamd.core.counters import Counters
from streamd.core.frames import Frames
from streamd.sqlite import connection
from streamd.sqlite.database import Database

# How fast texts are made, or a body runs, says something of the machine that the tests share.
hypothesis.settings.register_profile(
    "streamd", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("streamd")

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
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits for what a thread, a socket or another process brings about; fails when it never does."""
    return _until


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
    monkeypatch.setattr(connection, "_BUSY_TIMEOUT_S", 0.01)


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


@pytest.fixture(autouse=True)
def declared_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A component that counts a name which it has not declared fails its test."""
    add = Counters.add

    def strict(self: Counters, name: str, n: int = 1, reason: str = "") -> None:
        if self.meanings is not None:
            assert name in self.meanings, f"the counter {name!r} is not declared: {sorted(self.meanings)}"
        add(self, name, n, reason)

    monkeypatch.setattr(Counters, "add", strict)


@pytest.fixture
def other_package(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tests/other_package` as pip installs a package of somebody else: `knock`, `tally` and `parts`."""
    site = tmp_path_factory.mktemp("site")
    info = site / "somebodys_parts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[streamd.sources]\nknock = somebodys_parts:Knock\n"
        "[streamd.steps]\ntally = somebodys_parts:Tally\n"
        "[streamd.sinks]\nparts = somebodys_parts:Parts\n"
    )
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "other_package"))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(registry, "load", registry.load.__wrapped__)  # what it finds here is of this test


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
