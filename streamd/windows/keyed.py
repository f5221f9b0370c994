"""The open windows of one key, and the contract of the kinds of windows."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

from streamd.core.record_key import Key
from streamd.windows.aggregates import States
from streamd.windows.moments import ALWAYS, NEVER, US, text_of

if TYPE_CHECKING:
    from streamd.windows.timelines import Timeline

Ranges = tuple[tuple[str, str], tuple[int, int], tuple[float, float]]
"""From where up to where a time is: as canonical text, in microseconds, and in seconds."""
NOWHERE: Ranges = (("", ""), (0, 0), (0.0, 0.0))
"""No time is in these ranges."""


def ranges_of(start_us: int, end_us: int) -> Ranges:
    """The ranges of a time. A number of seconds may be rounded up, so that range ends a microsecond early."""
    seconds = (0.0, 0.0)
    if start_us % US == 0:
        seconds = (start_us / US, (end_us - 1) / US)
    return (text_of(start_us), text_of(end_us)), (start_us, end_us), seconds


class Bucket:
    """KeyedRows that share their windows: a pane, or a session with its first and last time."""

    __slots__ = ("count", "first", "last", "losses", "rows", "shown", "states")

    def __init__(self, losses: int) -> None:
        self.states: States | None = None
        """What is known of the folded rows; None before the first."""
        self.rows: list[Any] = []
        """KeyedRows that are not folded into `states` yet."""
        self.count = 0
        """Number of folded rows."""
        self.shown = 0
        """Number of rows when an early result was last made."""
        self.losses = losses
        self.first = ALWAYS
        self.last = NEVER


_NO_ROWS: list[Any] = []
"""Nothing is added to it."""


class Keyed:
    """A key with its open windows."""

    __slots__ = (
        "buckets",
        "expected_us",
        "fast",
        "is_queued",
        "key",
        "moved_s",
        "next_us",
        "number",
        "rows",
        "seen_s",
        "senders",
        "watermark_us",
    )  # fmt: skip

    def __init__(self, key: Key, number: int) -> None:
        self.key = key
        self.number = number
        """Keys are numbered in the order in which they came."""
        self.buckets: dict[int, Bucket] = {}
        """Panes by their number, or sessions by their first time."""
        self.watermark_us = NEVER
        """All windows that end up to here are closed."""
        self.next_us = ALWAYS
        """The watermark at which a window closes, or a closed one is forgotten."""
        self.expected_us = ALWAYS
        """The `next_us` that shared timelines know."""
        self.senders: tuple[Timeline, ...] = ()
        self.seen_s = 0.0
        """When the last record came (monotonic)."""
        self.moved_s = 0.0
        """When a record moved the watermark (monotonic)."""
        self.is_queued = False
        """Whether the key is in the queue of timelines that may fall idle."""
        self.fast = NOWHERE
        """The times of records that belong to the newest bucket and close no window, so that they are just
        added to `rows`. The watermark does not follow these records."""
        self.rows = _NO_ROWS

    def slow(self) -> None:
        """Let the next record take the long way."""
        self.fast = NOWHERE


class Closed(NamedTuple):
    """A window with its result."""

    keyed: Keyed
    start_us: int
    end_us: int
    values: dict[str, Any]
    """The value of each aggregate by its name."""
    losses: int
    """The losses that were seen before its oldest bucket."""
    final: bool = True


TAKEN, LATE, PARTLY_LATE, UPDATED = range(4)
"""What `Kind.put` did."""


class Kind(ABC):
    """Tumbling and sliding windows, or sessions."""

    @abstractmethod
    def put(self, keyed: Keyed, moment_us: int, row: Any, losses: int) -> int:
        """Add a row to its windows, and set `next_us`. All windows up to `watermark_us` are closed."""

    @abstractmethod
    def updated(self, keyed: Keyed, moment_us: int) -> list[Closed]:
        """The closed windows that a row at this time has changed, after `put` has returned `UPDATED` or
        `PARTLY_LATE`.
        """

    @abstractmethod
    def close(self, keyed: Keyed, watermark_us: int) -> list[Closed]:
        """Advance the watermark of the key: the windows that are closed now, in order."""

    @abstractmethod
    def early(self, keyed: Keyed) -> list[Closed]:
        """The open windows that have changed since they were last shown."""

    @abstractmethod
    def newest_end(self, keyed: Keyed) -> int:
        """The end of the newest window with rows; NEVER without one."""

    def whole(self, oldest: Any, newest: Any, form: int) -> Ranges | None:
        """The value of `Keyed.fast` that includes both times, if many keys have it; else None."""
        return None

    def hurry(self, keyed: Keyed) -> None:
        """Set `fast` if it is possible, after `close`. It depends only on the buckets and the watermark."""
        keyed.slow()
