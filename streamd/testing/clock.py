"""The virtual clock of a test, which also answers the user's Python."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streamd.core.now import Now

_FIRST_MONO_S = 100_000.0
_NEXT_MONO_S = 10.0
"""After a restart the monotonic clock is lower than before, as after a reboot of the host."""


class VirtualClock:
    """A clock that moves only when a test moves it. A call reads it."""

    def __init__(self, wall_s: float) -> None:
        self.wall_s = wall_s
        self._ahead_s = _FIRST_MONO_S - wall_s
        """What the monotonic clock shows more than the wall clock."""

    def __call__(self) -> Now:
        """The current time of both clocks."""
        return Now(self.wall_s, self.mono_s)

    @property
    def mono_s(self) -> float:
        """The monotonic clock. Rounded, because the wall clock has no finer digits than microseconds."""
        return round(self.wall_s + self._ahead_s, 6)

    def wall_at(self, mono_s: float) -> float:
        """The wall clock when the monotonic clock shows `mono_s`."""
        return round(mono_s - self._ahead_s, 6)

    def move_to(self, wall_s: float) -> None:
        """Move both clocks forward. An earlier time changes nothing."""
        self.wall_s = max(self.wall_s, wall_s)

    def begin_anew(self) -> None:
        """Let the monotonic clock begin again, as it may at a restart."""
        self._ahead_s = _NEXT_MONO_S - self.wall_s


_shown: list[Callable[[], Now]] = []
_TIME, _MONOTONIC = time.time, time.monotonic


def _wall_s() -> float:
    return _shown[-1]().wall_s if _shown else _TIME()


def _mono_s() -> float:
    return _shown[-1]().mono_s if _shown else _MONOTONIC()


@contextmanager
def shown_to_python(clock: Callable[[], Now]) -> Iterator[None]:
    """A context in which `time.time` and `time.monotonic` of this process show the virtual clock.

    Steps in Python read them for their deadlines. The event loop must be uvloop's, which has its own clock.
    `time.perf_counter`, `time.sleep` and `datetime.now` stay real.
    """
    before = time.time, time.time_ns, time.monotonic, time.monotonic_ns
    time.time, time.monotonic = _wall_s, _mono_s
    time.time_ns = lambda: round(_wall_s() * 1e6) * 1000
    time.monotonic_ns = lambda: round(_mono_s() * 1e6) * 1000
    _shown.append(clock)
    try:
        yield
    finally:
        _shown.pop()
        time.time, time.time_ns, time.monotonic, time.monotonic_ns = before
