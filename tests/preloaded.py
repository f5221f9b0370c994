"""Starts `streamd` as a copy of a process that has imported it already, for a tenth of the CPU of a start.

A module of tests about the start itself starts it in the usual way.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, NoReturn

from streamd.cli._lean_imports import lean_imports
from tests.ends_with_us import ends_with_us

_IMPORTED = (
    "streamd.cli.run", "streamd.config", "streamd.daemon", "streamd.components", "streamd.logs.logs",
    "streamd.reload.required_tests", "streamd.sources.tcp", "streamd.sources.udp", "streamd.sources.file",
    "streamd.sinks.sqlite", "streamd.sinks.file", "streamd.codecs.json", "streamd.codecs.raw",
    "streamd.steps.python", "streamd.steps.filter", "uvloop", "aiosqlite",
)  # fmt: skip
_MOST_BYTES = 200_000
_READ_BY_PYTHON = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")


class Process:
    """A copy. It has the methods of `subprocess.Popen` that tests use."""

    def __init__(self, answers: socket.socket, arguments: Sequence[str]) -> None:
        self.args = arguments
        self.returncode: int | None = None
        self._answers = answers
        self.pid = int(answers.recv(100))
        ends_with_us(self.pid)

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, a negative number of a signal. Raises `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            self._answers.settimeout(timeout)
            try:
                self.returncode = int(self._answers.recv(100))
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self._answers.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Nothing happens if it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Preloaded:
    """The process that is copied. It is started for the first copy, and ends with the tests."""

    def __init__(self) -> None:
        self._path = Path(tempfile.mkdtemp(prefix="streamd-")) / "s"
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.preloaded", str(self._path)],
            cwd=Path(__file__).parent.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    @staticmethod
    def takes(env: Mapping[str, str]) -> bool:
        """Whether a copy can have these variables: some are read only when Python starts."""
        return not any(name.startswith(_READ_BY_PYTHON) for name in env)

    def start(
        self,
        arguments: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        stderr: IO[bytes],
        stdout: IO[bytes] | None = None,
    ) -> Process:
        """`python -W error -m streamd` with these arguments."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(str(self._path))
        request = json.dumps({"arguments": list(arguments), "cwd": str(cwd), "env": dict(env)}).encode()
        socket.send_fds(connection, [request], [0, stdout.fileno() if stdout else 1, stderr.fileno()])
        return Process(connection, arguments)

    def end(self) -> int:
        """End the process that is copied, not its copies. Returns its exit code."""
        self._process.communicate()
        self._path.unlink()
        self._path.parent.rmdir()
        return self._process.returncode


@cache
def preloaded() -> Preloaded:
    """The process whose copies the tests of this process use."""
    made = Preloaded()
    atexit.register(made.end)
    return made


def run(
    arguments: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None, timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """A command of streamd, and what it has written. Raises `subprocess.TimeoutExpired`."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        variables = os.environ if env is None else env
        copy = preloaded().start(arguments, cwd, variables, stderr, stdout)
        try:
            code = copy.wait(timeout_s)
        finally:
            copy.kill()
        said = []
        for stream in (stdout, stderr):
            stream.seek(0)
            said.append(stream.read().decode())
    return subprocess.CompletedProcess(["streamd", *arguments], code, *said)


class _Server:
    """Makes the copies, and reports how each has ended on the connection that asked for it."""

    def __init__(self, path: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(path)
        self._listener.listen(16)
        self._connections: dict[int, socket.socket] = {}
        self._woken, self._wakes = os.pipe()
        os.set_blocking(self._wakes, False)
        signal.set_wakeup_fd(self._wakes)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> list[str] | None:
        """Make copies until the tests end. Returns None then; in a copy, its arguments."""
        with selectors.DefaultSelector() as selector:
            for readable in (self._listener.fileno(), self._woken, 0):
                selector.register(readable, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select()}
                if 0 in ready:
                    return None
                if self._woken in ready:
                    os.read(self._woken, 1000)
                    self._report()
                if self._listener.fileno() in ready and (arguments := self._copy()) is not None:
                    return arguments

    def _report(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                connection = self._connections.pop(ended[0])
                with contextlib.suppress(OSError):  # nobody waits for it
                    connection.send(str(os.waitstatus_to_exitcode(ended[1])).encode())
                connection.close()

    def _copy(self) -> list[str] | None:
        connection, _ = self._listener.accept()
        data, streams, _, _ = socket.recv_fds(connection, _MOST_BYTES, 3)
        pid = os.fork()
        if pid:
            connection.send(str(pid).encode())
            self._connections[pid] = connection
            for fd in streams:
                os.close(fd)
            return None
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for opened in (self._listener, connection, *self._connections.values()):
            opened.close()
        for fd in (self._woken, self._wakes):
            os.close(fd)
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
            os.close(fd)
        request = json.loads(data)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        arguments: list[str] = request["arguments"]
        return arguments


def _serve(path: str) -> NoReturn:
    with lean_imports():
        for name in _IMPORTED:
            importlib.import_module(name)
        from streamd.__main__ import main  # noqa: PLC0415 - the signals that it sets are those of a copy
    server = _Server(path)
    print("ready", flush=True)  # noqa: T201
    gc.collect()
    gc.freeze()
    arguments = server.run()
    if arguments is None:
        os._exit(0)
    gc.unfreeze()
    warnings.resetwarnings()
    warnings.simplefilter("error")
    sys.argv = [sys.argv[0], *arguments]
    sys.exit(main())


if __name__ == "__main__":
    _serve(sys.argv[1])
