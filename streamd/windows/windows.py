"""The windows of all keys."""

from collections.abc import Sequence
from itertools import repeat
from typing import Any

from streamd.core.record_key import Key
from streamd.windows.aggregates import CHUNK, Aggregates
from streamd.windows.keyed import LATE, PARTLY_LATE, UPDATED, Bucket, Closed, Keyed, Kind
from streamd.windows.losses import Losses
from streamd.windows.moments import NEVER
from streamd.windows.rows import KeyedRows, in_microseconds
from streamd.windows.timelines import KeyClock, PipelineClock, SenderClock, Timeline

OVERFLOW = b"*"
"""The key of all keys beyond `max_keys`. It is the JSON of no value."""
ROWS_KEPT = 262_144
"""KeyedRows that may come before the complete chunks of all keys are folded."""


class Windows:
    """Adds rows to the windows of their keys and finds the windows that close."""

    def __init__(
        self,
        kind: Kind,
        clock: KeyClock | SenderClock | PipelineClock,
        aggregates: Aggregates,
        losses: Losses,
        max_keys: int,
    ) -> None:
        self.kind = kind
        self.clock = clock
        self.aggregates = aggregates
        self.losses = losses
        self.max_keys = max_keys
        self.keys: dict[Key, Keyed] = {}
        self.partly_late = 0
        self.updated = 0
        self.remade = 0
        """Windows that were made again by `updated` records."""
        self.overflowed = 0
        self.late: list[tuple[int, int, int]] = []
        """The late records since this was emptied: place in the batch, time, and watermark of the key."""
        self._rows_kept = 0

    def add(self, rows: KeyedRows, senders: Sequence[str] | None, mono_s: float) -> list[tuple[int, Closed]]:
        """Add rows, in order. Returns each window that closes, with the place of the record that closed it.

        `senders` has the sender of each row; None if the clock needs none.
        """
        closed: list[tuple[int, Closed]] = []
        get = self.keys.get
        form = rows.form
        slowly = self._add_one
        if senders is None:
            every = zip(map(get, rows.keys), rows.moments, rows.rows, range(len(rows.rows)), strict=True)
            for keyed, at, row, index in every:
                if keyed is not None:
                    low, high = keyed.fast[form]
                    if low <= at < high:
                        keyed.rows.append(row)
                        keyed.seen_s = mono_s
                        continue
                (moment_us,) = in_microseconds((at,), form)
                place = rows.places[index]
                if windows := slowly(rows.keys[index], keyed, moment_us, row, "", place, mono_s):
                    closed += zip(repeat(place), windows)
        else:
            all_of = zip(rows.keys, rows.moments_us, rows.rows, rows.places, senders, strict=True)
            for key, moment_us, row, place, sender in all_of:
                if windows := slowly(key, get(key), moment_us, row, sender, place, mono_s):
                    closed += zip(repeat(place), windows)
        self._rows_kept += len(rows.rows)
        if self._rows_kept >= ROWS_KEPT:
            self.fold()
        return closed

    def _add_one(
        self,
        key: Key,
        keyed: Keyed | None,
        moment_us: int,
        row: Any,
        sender: str,
        place: int,
        mono_s: float,
    ) -> list[Closed]:
        if keyed is None:
            keyed = self._new(key)
        closed_until_us = keyed.watermark_us
        keyed.watermark_us = self.clock.watermark(keyed, sender)
        outcome = self.kind.put(keyed, moment_us, row, self.losses.seen)
        closed: list[Closed] = []
        if outcome in (PARTLY_LATE, UPDATED):
            self.partly_late += outcome == PARTLY_LATE
            closed = self.kind.updated(keyed, moment_us)
            self.updated += bool(closed)
            self.remade += len(closed)
        else:
            if outcome == LATE:
                self.late.append((place, moment_us, keyed.watermark_us))
            keyed.watermark_us = closed_until_us  # another sender may be slower
        is_late = outcome == LATE
        return closed + self.clock.advance(keyed, sender, moment_us, mono_s, late=is_late)

    def _new(self, key: Key) -> Keyed:
        """A new key, or the common one if there are too many."""
        if len(self.keys) >= self.max_keys:
            self.overflowed += 1
            common = self.keys.get(OVERFLOW)
            if common is not None:
                return common
            key = OVERFLOW
        keyed = self.keys[key] = Keyed(key, len(self.keys))
        return keyed

    def fold(self) -> None:
        """Fold the complete chunks of all keys."""
        self._rows_kept = 0
        fold = self.aggregates.fold_chunks
        for keyed in self.keys.values():
            for bucket in keyed.buckets.values():
                waiting = len(bucket.rows)
                if waiting >= CHUNK:
                    bucket.states = fold(bucket.states, bucket.rows)
                    bucket.count += waiting - len(bucket.rows)

    def early(self) -> list[Closed]:
        """The open windows that have changed since this was last called."""
        return [window for keyed in self.keys.values() if keyed.buckets for window in self.kind.early(keyed)]

    def dump(self) -> list[Any]:
        """The keys and their open windows as values of MessagePack."""
        senders = {id(one): index for index, one in enumerate(self._senders().values())}
        seen = self.losses.seen
        return [
            [[one.sender, one.watermark_us] for one in self._senders().values()],
            self.clock.whole.watermark_us if isinstance(self.clock, PipelineClock) else NEVER,
            [
                [
                    keyed.key,
                    keyed.watermark_us,
                    keyed.next_us,
                    [senders[id(one)] for one in keyed.senders],
                    [
                        [
                            index,
                            bucket.first,
                            bucket.last,
                            bucket.count,
                            bucket.shown,
                            bucket.losses == seen,
                            bucket.rows,
                            self.aggregates.dump(bucket.states),
                        ]
                        for index, bucket in keyed.buckets.items()
                    ],
                ]
                for keyed in self.keys.values()
            ],
        ]

    def load(self, stored: Any, mono_s: float) -> None:
        """Continue from what `dump` returned. Raises ValueError, TypeError or KeyError."""
        senders, watermark_us, every = stored
        timelines = []
        for name, its_us in senders:
            timeline = self._senders()[str(name)] = Timeline(str(name))
            timeline.watermark_us = int(its_us)
            timelines.append(timeline)
        if isinstance(self.clock, PipelineClock):
            self.clock.whole.watermark_us = int(watermark_us)
        for key, its_us, next_us, indexes, buckets in every:
            if not isinstance(key, str | bytes):
                raise TypeError("a key is a text or bytes")
            keyed = self.keys[key] = Keyed(key, len(self.keys))
            keyed.watermark_us, keyed.next_us = int(its_us), int(next_us)
            keyed.senders = tuple(timelines[index] for index in indexes)
            for index, first, last, count, shown, is_whole, rows, states in buckets:
                seen = self.losses.seen if is_whole else -1
                bucket = keyed.buckets[int(index)] = Bucket(self.aggregates.load(states), seen)
                bucket.rows = self.aggregates.load_rows(rows)
                bucket.first, bucket.last, bucket.count, bucket.shown = (
                    int(first),
                    int(last),
                    int(count),
                    int(shown),
                )
        self.clock.begin(self.keys.values(), mono_s)

    def _senders(self) -> dict[str, Timeline]:
        return {} if isinstance(self.clock, KeyClock) else self.clock.senders
