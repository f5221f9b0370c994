"""Captures: which records belong to the time around flagged ones, and their rows."""

from collections import deque
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import msgspec

from streamd.captures.packing import Packing
from streamd.captures.rings import Ring, Rings, is_flagged, moment_of
from streamd.core.batch import Record
from streamd.core.record_key import Key
from streamd.windows.moments import US, text_of

_DIGEST_BYTES = 8

Due = tuple[str, int, bool, int, list[bytes]]
"""Records of a capture: its id and first time, completeness, the number of the first, and all, packed."""


class Spans:
    """The times that belong to a capture, in microseconds."""

    __slots__ = ("after_us", "before_us", "every_us", "longest_us")

    def __init__(self, before_s: float, after_s: float, longest_s: float, every_s: float) -> None:
        self.before_us, self.after_us = round(before_s * US), round(after_s * US)
        """Before and behind each flagged record."""
        self.longest_us = round(longest_s * US)
        """The longest capture behind its first flagged record."""
        self.every_us = round(every_s * US)
        """The least time between the first flagged records of two captures."""


class Captures:
    """Moves records of the memory that belong to captures into rows.

    A record that was captured is no longer in the memory, so none is captured twice.
    """

    def __init__(self, spans: Spans, rings: Rings, packing: Packing, name: str, salt: str) -> None:
        """`name`: the field of the id. `salt`: part of every id."""
        self.names = (name, f"{name}_row", f"{name}_offset_s", f"{name}_flagged", f"{name}_complete")
        self.due: deque[Due] = deque()
        """Captured records whose rows are not made yet."""
        self.begun = 0
        """How many captures have begun since this was set to 0."""
        self._spans = spans
        self._rings = rings
        self._packing = packing
        self._salt = salt

    def flag(self, key: Key, ring: Ring, moment_us: int) -> bool:
        """Begin a capture around a flagged record, or prolong the last one; False if it belongs to none."""
        spans = self._spans
        low_us, high_us = moment_us - spans.before_us, moment_us + spans.after_us
        distance_us = abs(moment_us - ring.first_us)
        overlaps = low_us <= ring.high_us and high_us >= ring.low_us
        if ring.id and overlaps and distance_us <= spans.longest_us:
            ring.low_us = min(ring.low_us, low_us)
            ring.high_us = max(ring.high_us, min(high_us, ring.first_us + spans.longest_us))
        elif ring.id and distance_us < spans.every_us:
            return ring.low_us <= moment_us <= ring.high_us
        else:
            ring.id = self._id(key, moment_us)
            ring.first_us, ring.low_us, ring.high_us, ring.rows = moment_us, low_us, high_us, 0
            self.begun += 1
        if taken := self._rings.take(ring, ring.low_us, ring.high_us):
            self.add(ring, taken)
        return True

    def _id(self, key: Key, moment_us: int) -> str:
        said = msgspec.msgpack.encode((self._salt, key))
        return f"{text_of(moment_us)}-{blake2b(said, digest_size=_DIGEST_BYTES).hexdigest()}"

    def add(self, ring: Ring, packed: list[bytes]) -> None:
        """Add records to the last capture of their key."""
        self.due.append((ring.id, ring.first_us, ring.lost_us < ring.low_us, ring.rows, packed))
        ring.rows += len(packed)

    def rows(self, most: int) -> list[Record]:
        """The rows of records that are due, at most so many."""
        made: list[Record] = []
        while self.due and len(made) < most:
            id_, first_us, complete, row, packed = self.due.popleft()
            if len(packed) > (left := most - len(made)):
                self.due.appendleft((id_, first_us, complete, row + left, packed[left:]))
                packed = packed[:left]
            for number, one in enumerate(packed, row):
                made.append(self._row(one, id_, first_us, number, complete=complete))
        return made

    def _row(self, packed: bytes, id_: str, first_us: int, number: int, *, complete: bool) -> Record:
        name, name_row, name_offset, name_flagged, name_complete = self.names
        record = self._packing.unpack(packed)
        record[name] = id_
        record[name_row] = number
        record[name_offset] = (moment_of(packed) - first_us) / US
        record[name_flagged] = is_flagged(packed)
        record[name_complete] = complete
        return record

    def restore(self, due: Iterable[Any]) -> None:
        """Go on with the records that were due."""
        self.due = deque(due)
