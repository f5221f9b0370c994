"""Limits the rate of log lines of each kind, and reports the number held back."""

import threading
import time
from collections.abc import Callable

import structlog
from structlog.typing import EventDict, WrappedLogger

BURST = 20
"""Lines of one kind that pass at once."""
PER_SECOND = 1.0
"""Lines of one kind that pass each second in the long run."""
MAX_KINDS = 256
"""Kinds with their own token bucket. All other kinds share one bucket and one count."""
MAX_KIND_CHARS = 64

START_UP = frozenset({
    "admin_listening", "file_waiting", "following", "generating", "listening", "receive_buffer_small",
    "socket_not_used",
})  # fmt: skip
"""Kinds that are never held back. Each part logs its own such event, and no sender can cause one."""

_OTHER_KINDS = "(other kinds)"


class RateLimit:
    """A structlog processor with a token bucket for each kind of event. The kind is the event's name.

    The number of lines held back is added as `suppressed` to the next line of that kind, or returned by
    `take_suppressed`. Safe to call from several threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.RLock()  # a finalizer may warn while this thread holds it
        self._tokens: dict[str, tuple[float, float]] = {}  # kind → (tokens, time of that count)
        self._suppressed: dict[str, int] = {}

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        del logger, method
        if event["event"] in START_UP:
            return event
        suppressed = self.admit(str(event["event"])[:MAX_KIND_CHARS])
        if suppressed is None:
            raise structlog.DropEvent
        if suppressed:
            event["suppressed"] = suppressed
        return event

    def admit(self, kind: str) -> int | None:
        """Take a token and return the number of lines held back since the last one. None: hold it back."""
        with self._lock:
            now = self._clock()
            if kind not in self._tokens and len(self._tokens) >= MAX_KINDS:
                kind = _OTHER_KINDS
            tokens, then = self._tokens.get(kind, (float(BURST), now))
            tokens = min(float(BURST), tokens + (now - then) * PER_SECOND)
            if tokens < 1:
                self._tokens[kind] = (tokens, now)
                self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
                return None
            self._tokens[kind] = (tokens - 1, now)
            return self._suppressed.pop(kind, 0)

    def take_suppressed(self) -> dict[str, int]:
        """The number of lines held back and not reported yet, by kind. They count as reported from now on."""
        with self._lock:
            taken, self._suppressed = self._suppressed, {}
        return taken
