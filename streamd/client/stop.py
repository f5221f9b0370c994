"""The user's request to end, checked between writes and while waiting."""

import select
import signal
import time
from types import FrameType
from typing import Any, Self

_LOOK_S = 0.1


class Stopped(Exception):  # noqa: N818 - a request of the user, not an error
    """The user asked to end."""


class Stop:
    """Set by the first SIGINT or SIGTERM. The second signal ends the process as usual.

    As a context manager it handles the two signals. It sets a flag instead of raising, because an exception
    between a write and its counting would make the reported number wrong.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {
            number: signal.signal(number, self._request) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _request(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def sleep(self, seconds: float) -> None:
        """Sleep. Raises `Stopped` within 0.1 s of a request."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self.requested:
                raise Stopped
            time.sleep(min(left, _LOOK_S))

    def wait_for(self, descriptor: int, event: int) -> None:
        """Wait for `select.POLLIN` or `POLLOUT`. Raises `Stopped` within 0.1 s of a request."""
        poll = select.poll()
        poll.register(descriptor, event)
        while not poll.poll(_LOOK_S * 1000):
            if self.requested:
                raise Stopped
