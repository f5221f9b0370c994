"""Child processes that serve on this machine: they are ready when their constructor returns."""

import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from streamd.bench.child import Child, cpu_s


def connect(port: int) -> None:
    """Open a connection to a port of 127.0.0.1 and close it. Raises `OSError`."""
    socket.create_connection(("127.0.0.1", port), timeout=1).close()


def fetch(port: int, what: str) -> bytes:
    """What a port of 127.0.0.1 answers over HTTP. Raises `OSError`, also for an error of the server."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{what}", timeout=10) as answer:
        content: bytes = answer.read()
        return content


class ReadyChild(Child):
    """A child that has to be ready before it is used."""

    def __init__(
        self, folder: Path, *arguments: str, ready: Callable[[], object], within_s: float, look_s: float
    ) -> None:
        """`ready` raises `OSError` until it is ready; it is called every `look_s`. Raises `BenchError`."""
        super().__init__(folder, *arguments)
        try:
            self.ready_mono_s = self.wait_for(ready, within_s, look_s)
        except BaseException:
            self.__exit__()
            raise
        self._cpu_ready_s = cpu_s(self.pid)

    def wait_for(self, ready: Callable[[], object], within_s: float, look_s: float) -> float:
        """Wait until `ready` raises no `OSError`, at most `within_s` after the start. Returns that time."""
        while time.monotonic() < self.started_mono_s + within_s:
            if not self.running():
                raise self.failure("ended before it was ready")
            try:
                ready()
            except OSError:
                time.sleep(look_s)
            else:
                return time.monotonic()
        raise self.failure(f"was not ready within {within_s:.0f} s")

    @property
    def cpu_s(self) -> float:
        """CPU seconds since it was ready, without its start."""
        return cpu_s(self.pid) - self._cpu_ready_s
