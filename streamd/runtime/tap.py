"""A tap: shows some of the records that pass a point of the running daemon, without slowing it down."""

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from streamd.core.batch import Record
from streamd.core.errors import BadData
from streamd.core.expression import Expression
from streamd.core.now import Now
from streamd.encoding.shown import shown
from streamd.runtime.reservoir import Reservoir

WINDOW_S = 1.0
"""The time from which records are chosen together."""
MAX_TAPS = 6
"""Most taps at a time, fewer than streams of the control socket, so that `status --watch` has room."""
MAX_RATE, DEFAULT_RATE = 1000, 10
"""Records that a tap shows in a second."""
MAX_BYTES = 4 * 1024 * 1024
"""The memory of the records of one window."""
EXAMINED_PER_S = 10_000
"""Records in a second that a condition is tried on, so that it takes up to 2 % of a core."""
CONCEALED_PRICE = 10
"""A record that has to be redacted first counts as so many of `EXAMINED_PER_S`."""

Reason = Literal["once", "removed", "stopping", "failed"]
ENDS: Mapping[Reason, str] = {
    "once": "all records that were asked for are shown",
    "removed": "a reload has removed this point",
    "stopping": "the daemon stops",
    "failed": "the tap has failed, see the log of the daemon",
}
"""The reasons for which a tap ends."""
SKIPS: Mapping[str, str] = {
    "rate": "more records passed than the tap shows",
    "slow": "the reader was too slow",
    "size": "the records of one second were too large together",
    "unexamined": "more records passed than the condition is tried on",
    "failed": "the condition failed on the record",
}
"""The reasons for which records are skipped."""


@dataclass(slots=True, frozen=True)
class TapOptions:
    """What the client of a tap asked for. With `once`, the first records are shown, and no sample."""

    where: Expression | None = None
    fields: Sequence[str] | None = None
    rate: int = DEFAULT_RATE
    once: int | None = None


@dataclass(slots=True, frozen=True)
class Unseen:
    """Fields of a condition that no record has had so far, so their names may be mistyped."""

    fields: list[str]
    tried: int
    """Records that the condition was tried on."""
    there: list[str]
    """The fields of the newest of them."""


@dataclass(slots=True)
class Portion:
    """What a tap has for its client: records, and how many were skipped since the last portion."""

    events: list[bytes] = field(default_factory=list)
    """Each is JSON: `at_wall_s` and `record`."""
    skipped: Counter[str] = field(default_factory=Counter)
    """By reason, see `SKIPS`."""
    why: str = ""
    """Why the condition failed last."""
    unseen: Unseen | None = None
    """If it differs from that of the last portion."""


class Tap:
    """One client's view of a point.

    From each second it shows a fair sample of at most `rate` records: each record of that second has the same
    chance, wherever it stands in its batch. The shown records are encoded at once, so what a later step does
    to them is not seen. The memory is bounded by `MAX_BYTES` for the second that is being collected, and the
    same for one that waits for the reader. If that one is not read in time, the next one replaces it.

    A condition is tried on `EXAMINED_PER_S` records at most, which are chosen in the same way.
    """

    def __init__(self, point: str, wanted: TapOptions, now: Now, rng: random.Random) -> None:
        self.point = point
        self.shown = 0
        """Records that the reader has taken."""
        self.skipped = 0
        """Records that were not shown, of which the reader knows."""
        self.ended: Reason | None = None
        self.on_ready: Callable[[], None] = lambda: None
        """Called when the tap has ended, so that the reader need not wait for the end of the second."""
        self._wanted = wanted
        self._rng = rng
        self._left = wanted.once
        self._reservoir = Reservoir(self._slots(), rng.random, first=wanted.once is not None)
        self._chosen: dict[int, bytes] = {}
        """The events of the second by slot, in the order of the records: a replaced one moves to the end."""
        self._size_bytes = 0
        self._too_large: set[int] = set()
        """The slots whose record did not fit into `MAX_BYTES`."""
        self._ends_mono_s = now.mono_s + WINDOW_S
        self._credit = float(EXAMINED_PER_S)
        self._credited_mono_s = now.mono_s
        self._ready: list[bytes] = []
        self._skipped: Counter[str] = Counter()
        self._why = ""
        where = wanted.where
        self._unseen = set() if where is None else {name for name in where.fields if not name.startswith("@")}
        """Fields of the condition that no record has had."""
        self._said_unseen: set[str] = set()
        self._tried = 0
        self._there: list[str] = []

    def _slots(self) -> int:
        return self._wanted.rate if self._left is None else min(self._wanted.rate, self._left)

    def see(
        self,
        count: int,
        record_at: Callable[[int], Record],
        now: Now,
        price: int = 1,
        bare_at: Callable[[int], Record] | None = None,
    ) -> None:
        """Records pass the point. `record_at` makes or returns one of them; its result is read at once.

        `bare_at` does the same without metadata, and is cheaper. A condition on a record costs its `price`.
        """
        if self.ended is not None:
            return
        if now.mono_s >= self._ends_mono_s:
            self._turn(now)
        where = self._wanted.where
        if self._left is not None and self._ready:  # the first records are not replaced by later ones
            self._skipped["slow" if where is None else "unexamined"] += count
        elif where is None:
            for place, slot in self._reservoir.offer(count):
                self._keep(slot, record_at(place), now)
        else:
            if bare_at is None or where.reads_metadata:
                bare_at = record_at
            self._see_some(where, self._examined(count, price, now), bare_at, record_at, now)
        if self._is_complete():
            self.end("once", now)

    def _see_some(
        self,
        where: Expression,
        places: Iterable[int],
        bare_at: Callable[[int], Record],
        record_at: Callable[[int], Record],
        now: Now,
    ) -> None:
        most = sys.maxsize if self._left is None else self._left - len(self._chosen)
        fulfil = (place for place in places if self._fulfils(where, bare_at(place)))
        found = list(islice(fulfil, most))
        for number, slot in self._reservoir.offer(len(found)):
            self._keep(slot, record_at(found[number]), now)

    def _is_complete(self) -> bool:
        return self._left is not None and len(self._chosen) >= self._left

    def _fulfils(self, where: Expression, record: Record) -> bool:
        self._tried += 1
        if self._unseen:
            self._unseen.difference_update(record)
            self._there = list(record)
        try:
            return where.test(record)
        except BadData as bad:
            self._skipped["failed"] += 1
            self._why = f"{bad.reason}: {bad.detail}" if bad.detail else bad.reason
            return False

    def _examined(self, count: int, price: int, now: Now) -> Sequence[int]:
        """The places of the records that the condition is tried on, at equal distances in the batch."""
        gained = (now.mono_s - self._credited_mono_s) * EXAMINED_PER_S
        self._credit = min(self._credit + gained, float(EXAMINED_PER_S))
        self._credited_mono_s = now.mono_s
        most = int(self._credit / price)
        self._credit -= min(count, most) * price
        if count <= most:
            return range(count)
        self._skipped["unexamined"] += count - most
        phase, stride = self._rng.random(), count / most if most else 0.0
        return [int((number + phase) * stride) for number in range(most)]

    def _keep(self, slot: int, record: Record, now: Now) -> None:
        self._size_bytes -= len(self._chosen.pop(slot, b""))
        event = b'{"at_wall_s":%.6f,"record":%b}' % (now.wall_s, shown(record, self._wanted.fields))
        if self._size_bytes + len(event) > MAX_BYTES:
            self._too_large.add(slot)
            return
        self._too_large.discard(slot)
        self._size_bytes += len(event)
        self._chosen[slot] = event

    def _turn(self, now: Now) -> None:
        """End the second. Its records wait for the reader, in the place of those that still wait."""
        self._ends_mono_s = now.mono_s + WINDOW_S
        if self._left is not None and self._ready:  # then nothing was chosen
            return
        events = list(self._chosen.values())
        self._skipped["slow"] += len(self._ready)
        self._ready = events
        self._skipped["size"] += len(self._too_large)
        if self.ended != "once":  # the records after the last one asked for are not skipped
            self._skipped["rate"] += self._reservoir.offered - len(events) - len(self._too_large)
        if self._left is not None:
            self._left -= len(events)
        self._chosen.clear()
        self._too_large.clear()
        self._size_bytes = 0
        self._reservoir.clear(self._slots())

    def wait_s(self, now: Now) -> float:
        """How long the reader has to wait for the next portion."""
        return 0.0 if self._ready or self.ended else max(0.0, self._ends_mono_s - now.mono_s)

    def take(self, now: Now) -> Portion:
        """What is there for the reader. It is then forgotten."""
        if not self._ready and self.ended is None and now.mono_s >= self._ends_mono_s:
            self._turn(now)
        portion = Portion(self._ready, +self._skipped, self._why, self._news_of_unseen())
        self.shown += len(portion.events)
        self.skipped += portion.skipped.total()
        self._ready, self._skipped, self._why = [], Counter(), ""
        return portion

    def _news_of_unseen(self) -> Unseen | None:
        if not self._tried or self._unseen == self._said_unseen:
            return None
        self._said_unseen = set(self._unseen)
        if not self._unseen:
            return None
        return Unseen(sorted(self._unseen), self._tried, self._there)

    def end(self, reason: Reason, now: Now) -> None:
        """Show no further records. The reader can still take what is there."""
        if self.ended is None:
            self.ended = reason
            waiting, self._ready = self._ready, []
            self._turn(now)
            self._ready = waiting + self._ready
            self.on_ready()
