"""Limits the rate of log lines of one kind, and reports how many were held back."""

import threading
import time
from collections.abc import Callable

import structlog
from structlog.typing import EventDict, WrappedLogger

BURST = 20
"""Lines of one kind that may come at once."""
PER_SECOND = 1.0
"""Lines of one kind a second in the long run."""
MAX_KINDS = 256
"""Kinds with an allowance of their own; all others share one allowance and one count."""
MAX_KIND_CHARS = 64

START_UP = frozenset({
    "admin_listening", "file_waiting", "following", "generating", "listening", "receive_buffer_small",
    "socket_not_used",
})  # fmt: skip
"""Kinds that are never held back: each tells of another part, and no sender can bring one about."""

_OTHER_KINDS = "(other kinds)"


class RateLimit:
    """A structlog processor: a token bucket for each kind of event, the kind being the event's name.

    What is held back is counted; the count travels as `suppressed` on the next line of that kind, or is
    taken by `take_suppressed`. Safe to call from several threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.RLock()  # a finalizer that warns may come in while it is held
        self._tokens: dict[str, tuple[float, float]] = {}  # kind → (tokens, when they were counted)
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
        """How many of this kind were held back since the last one let through; None holds this one back."""
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
        """What was held back and not yet reported, by kind; it counts as reported from now on."""
        with self._lock:
            taken, self._suppressed = self._suppressed, {}
        return taken
