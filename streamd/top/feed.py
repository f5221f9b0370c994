"""Reads the events of a daemon in threads, and connects again when it is gone."""

import http.client
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from streamd.admin.client import STATUS_TIMEOUT_S, ask, events
from streamd.admin.status_answer import StatusAnswer, decoded
from streamd.core.errors import EnvironmentFault

EVENTS = "/status?watch=1"
SILENT_S = 10.0
"""If no event comes for so long, the connection is made anew. The figures are old long before."""
AGAIN_S = 1.0
SENDERS_EVERY_S = 10.0


class Senders(NamedTuple):
    """The senders with findings, the largest first: sender, finding, number. Others were left out."""

    found: tuple[tuple[str, str, int], ...] = ()
    left_out: int = 0


class News(NamedTuple):
    """The newest two statuses of a daemon, and when the newest came. `fault`: why none comes now."""

    status: StatusAnswer | None = None
    before: StatusAnswer | None = None
    at_mono_s: float = 0.0
    fault: str | None = None
    senders: Senders = Senders()


class StatusFeed:
    """`news` is always the newest. `wake` is called, in a thread of the feed, after each change."""

    def __init__(self, socket: Path, wake: Callable[[], None]) -> None:
        self.news = News()
        self._socket = socket
        self._wake = wake
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def start(self) -> None:
        """Start the threads. They end with the process, because a read may wait for long."""
        for work in (self._statuses, self._senders):
            threading.Thread(target=work, daemon=True).start()

    def close(self) -> None:
        """Connect no more, and call `wake` no more."""
        self._closed.set()

    def _change(self, **values: object) -> None:
        with self._lock:
            self.news = self.news._replace(**values)  # type: ignore[arg-type]  # named below
        if not self._closed.is_set():
            self._wake()

    def _statuses(self) -> None:
        while not self._closed.is_set():
            try:
                for body in events(self._socket, EVENTS, SILENT_S):
                    status = decoded(self._socket, body)
                    now = time.monotonic()
                    self._change(status=status, before=self.news.status, at_mono_s=now, fault=None)
                self._change(fault="the daemon has ended, or closed the connection")
            except EnvironmentFault as fault:
                self._change(fault=str(fault))
            self._closed.wait(AGAIN_S)

    def _senders(self) -> None:
        """Ask for the senders now and then. A daemon without them is asked too: another may follow it."""
        while not self._closed.is_set():
            try:
                answer = ask(self._socket, "GET", "/senders", STATUS_TIMEOUT_S)
                found = senders_of(answer.body) if answer.code == http.client.OK else Senders()
                if found != self.news.senders:
                    self._change(senders=found)
            except EnvironmentFault:
                pass  # the thread of the statuses says so
            self._closed.wait(SENDERS_EVERY_S)


def senders_of(body: bytes) -> Senders:
    """The senders of an answer. Empty if it is not understood."""
    try:
        document = json.loads(body)
        places = [document["columns"].index(name) for name in ("sender", "found", "records")]
        found = [(str(row[places[0]]), str(row[places[1]]), int(row[places[2]])) for row in document["rows"]]
        return Senders(tuple(found), int(document.get("left_out", 0)))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return Senders()
