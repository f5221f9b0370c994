"""The last records of each key, within bounds."""

from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from streamd.captures.packing import mark_of
from streamd.windows.moments import ALWAYS, NEVER

ENTRY_BYTES = 64
"""What a remembered record takes beside its packed bytes."""
_SLACK = 1024
"""Number of places without a record that may always wait in the order."""
_LEAST_START = 32
CHUNK = 256
"""Records of a chunk in a state."""


StoredRing = tuple[str, int, int, int, int, int]
"""Of a ring: id, first_us, low_us, high_us, rows and lost_us."""


class Ring:
    """The remembered records of a key, and its last capture."""

    __slots__ = (
        "entries",
        "first_us",
        "gone",
        "high_us",
        "id",
        "lost_us",
        "low_us",
        "newest_us",
        "oldest_us",
        "rows",
        "start",
    )

    def __init__(self, lost_us: int = NEVER) -> None:
        self.entries: list[bytes] = []
        """Packed records in the order of arrival; those before `start` are gone."""
        self.start = 0
        self.gone = 0
        """How many places of the ring in the common order have no record any more: the first ones."""
        self.oldest_us = ALWAYS
        """The time of the first record."""
        self.newest_us = NEVER
        """The time of the last record, while they are in order; ALWAYS if one is not."""
        self.lost_us = lost_us
        """The latest time of a record that is kept no longer, though a late flagged one may need it."""
        self.id = ""
        """The last capture; empty before the first."""
        self.first_us = 0
        """The time of its first flagged record."""
        self.low_us, self.high_us = ALWAYS, NEVER
        """It takes records from the one up to the other time."""
        self.rows = 0
        """How many records it has taken."""

    def stored(self) -> StoredRing:
        """The ring without its records, for a state."""
        return self.id, self.first_us, self.low_us, self.high_us, self.rows, self.lost_us

    @classmethod
    def of_stored(cls, stored: StoredRing) -> Self:
        """A ring of a state."""
        ring = cls(stored[5])
        ring.id, ring.first_us, ring.low_us, ring.high_us, ring.rows = stored[:5]
        return ring

    def live(self) -> list[bytes]:
        """The remembered records."""
        return self.entries[self.start :]


def moment_of(packed: bytes) -> int:
    """The time of a remembered record: its mark is twice the time, and one more if it is flagged."""
    return mark_of(packed) >> 1


def is_flagged(packed: bytes) -> bool:
    """Whether a remembered record is a flagged one."""
    return bool(mark_of(packed) & 1)


class Rings:
    """Remembers packed records of all keys.

    A record is forgotten when one of its key comes that is later by more than `before_us`. No later flagged
    record needs it, but an earlier one that comes late does, so `lost_us` of the ring is its time. Beyond
    `max_records` of a key its first record goes, beyond `max_bytes` the first of all keys; `lost` counts
    only these.
    """

    def __init__(self, before_us: int, max_records: int, max_bytes: int) -> None:
        self._before_us = before_us
        self._max_records = max_records
        self._max_bytes = max_bytes
        self.order: deque[Ring] = deque()
        """A place for each record in the order of arrival: its ring."""
        self.count = 0
        self.size_bytes = 0
        self.lost = 0

    def add(self, ring: Ring, packed: bytes, moment_us: int) -> None:
        """Remember a record of the key."""
        size_bytes = len(packed) + ENTRY_BYTES
        if size_bytes > self._max_bytes:
            self.lose(ring, moment_us)
            return
        after_us = moment_us - self._before_us
        while ring.oldest_us < after_us:
            if ring.oldest_us > ring.lost_us:  # noqa: PLR1730 - a call of max takes longer
                ring.lost_us = ring.oldest_us
            self._drop_first(ring)
        if len(ring.entries) - ring.start >= self._max_records:
            self._lose_first(ring)
        if ring.oldest_us == ALWAYS:
            ring.oldest_us = ring.newest_us = moment_us
        elif moment_us >= ring.newest_us:
            ring.newest_us = moment_us
        else:
            ring.newest_us = ALWAYS
        ring.entries.append(packed)
        self.order.append(ring)
        self.count += 1
        self.size_bytes += size_bytes
        while self.size_bytes > self._max_bytes:
            self._lose_oldest()
        if len(self.order) > 2 * self.count + _SLACK:
            self.tidy()

    def take(self, ring: Ring, low_us: int, high_us: int) -> list[bytes]:
        """Remove and return the records of the key from the one up to the other time."""
        live = ring.live()
        if ring.newest_us != ALWAYS:
            first = bisect_left(live, low_us, key=moment_of)
            end = bisect_right(live, high_us, key=moment_of)
            taken = live[first:end]
            del live[first:end]
            kept = live
        else:
            taken, kept = [], []
            for packed in live:
                (taken if low_us <= moment_of(packed) <= high_us else kept).append(packed)
        self._keep(ring, kept, taken)
        return taken

    def forget(self, ring: Ring) -> None:
        """Remove all records of the key."""
        self._keep(ring, [], ring.live())

    def _keep(self, ring: Ring, kept: list[bytes], removed: list[bytes]) -> None:
        ring.entries, ring.start = kept, 0
        ring.oldest_us = moment_of(kept[0]) if kept else ALWAYS
        if ring.newest_us != ALWAYS and kept:
            ring.newest_us = moment_of(kept[-1])
        ring.gone += len(removed)
        self.count -= len(removed)
        self.size_bytes -= sum(map(len, removed)) + ENTRY_BYTES * len(removed)

    def _drop_first(self, ring: Ring) -> None:
        entries, start = ring.entries, ring.start
        self.size_bytes -= len(entries[start]) + ENTRY_BYTES
        self.count -= 1
        entries[start] = b""
        ring.gone += 1
        ring.start = start = start + 1
        if start >= _LEAST_START and 2 * start >= len(entries):
            del entries[:start]
            ring.start = start = 0
        ring.oldest_us = moment_of(entries[start]) if start < len(entries) else ALWAYS

    def lose(self, ring: Ring, moment_us: int) -> None:
        """Note that a record of this time cannot be kept."""
        ring.lost_us = max(ring.lost_us, moment_us)
        self.lost += 1

    def _lose_first(self, ring: Ring) -> None:
        self.lose(ring, ring.oldest_us)
        self._drop_first(ring)

    def _lose_oldest(self) -> None:
        ring = self.order.popleft()
        if ring.gone:
            ring.gone -= 1
        else:
            self._lose_first(ring)
            ring.gone -= 1

    def tidy(self) -> None:
        """Remove the places without a record from the order."""
        kept: deque[Ring] = deque()
        for ring in self.order:
            if ring.gone:
                ring.gone -= 1
            else:
                kept.append(ring)
        self.order = kept

    def chunks(self, rings: Iterable[Ring]) -> Iterator[tuple[int, list[bytes]]]:
        """Some records of a ring at a time, with the number of their ring."""
        for number, ring in enumerate(rings):
            live = ring.live()
            for first in range(0, len(live), CHUNK):
                yield number, live[first : first + CHUNK]

    def restore(
        self, rings: Sequence[Ring], chunks: Iterable[tuple[int, list[bytes]]], order: Sequence[int]
    ) -> None:
        """Remember the records of the chunks again; `order` has the number of the ring of each record.

        Raises `ValueError` if these do not fit together.
        """
        counts: Counter[int] = Counter()
        for number, packed in chunks:
            counts[number] += len(packed)
            self.size_bytes += sum(map(len, packed)) + ENTRY_BYTES * len(packed)
            if 0 <= number < len(rings):
                rings[number].entries += packed
        if counts != Counter(order) or not all(0 <= number < len(rings) for number in counts):
            raise ValueError("the order of the records is not that of their keys")
        for number in counts:
            ring = rings[number]
            moments = list(map(moment_of, ring.entries))
            ring.oldest_us = moments[0]
            ring.newest_us = moments[-1] if moments == sorted(moments) else ALWAYS
        self.order.extend(rings[number] for number in order)
        self.count = len(order)
