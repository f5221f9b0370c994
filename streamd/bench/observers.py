"""What a curious operator keeps open, as a separate process: the page, `top`, Prometheus and a tap.

Run it with `python -m streamd.bench.observers PORT TOKEN_FILE POINT`. It prints `ready` when each of them has
had an answer, `tapped` when the tap has shown a record, and at SIGTERM a line of JSON with the number of
answers of each.
"""

import http.client
import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SCRAPE_S = 1.0
_PATIENCE_S = 30.0
_FIRST_RECORD = 2
"""The number of the event with the first record of a tap: the one before says that the tap is open."""


class Observers:
    """Reads the admin address in several threads, and counts the answers."""

    def __init__(self, port: int, token: str, point: str) -> None:
        self.answers: Counter[str] = Counter()
        self._port = port
        self._headers = {"Authorization": f"Bearer {token}"}
        self._point = point
        self._began = threading.Semaphore(0)

    def begin(self) -> None:
        """Begin all of them, and wait until each has had an answer. Raises `TimeoutError`."""
        begun: list[Callable[[], None]] = [
            lambda: self._stream("page", "/events"),
            lambda: self._stream("top", "/events"),
            lambda: self._stream("tap", f"/tap?point={self._point}"),
            self._scrape,
        ]
        self._get("/history?s=600")
        for run in begun:
            threading.Thread(target=run, daemon=True).start()
        for _ in begun:
            if not self._began.acquire(timeout=_PATIENCE_S):
                raise TimeoutError(f"not every request was answered: {dict(self.answers)}")

    def _stream(self, name: str, path: str) -> None:
        answer = self._ask(path)
        for line in answer:
            if line.startswith(b"data:"):
                self._count(name)

    def _scrape(self) -> None:
        while True:
            began_s = time.monotonic()
            self._get("/metrics")
            self._count("metrics")
            time.sleep(max(0.0, began_s + _SCRAPE_S - time.monotonic()))

    def _count(self, name: str) -> None:
        self.answers[name] += 1
        if self.answers[name] == 1:
            self._began.release()
        elif name == "tap" and self.answers[name] == _FIRST_RECORD:
            print("tapped", flush=True)  # noqa: T201 - for the parent

    def _get(self, path: str) -> None:
        self._ask(path).read()

    def _ask(self, path: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE_S)
        connection.request("GET", path, headers=self._headers)
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise ConnectionError(f"{path}: {answer.status} {answer.read(500).decode()}")
        return answer


def main(port: int, token_file: Path, point: str) -> None:
    """Observe until SIGTERM."""
    signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGTERM}
    )  # of all threads, so that this one waits for it
    observers = Observers(port, token_file.read_text().strip(), point)
    observers.begin()
    print("ready", flush=True)  # noqa: T201 - for the parent
    signal.sigwait({signal.SIGTERM})
    found: dict[str, Any] = dict(observers.answers)
    print(json.dumps(found), flush=True)  # noqa: T201 - the result, for the parent


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
