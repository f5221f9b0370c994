"""The windows of all keys."""

from collections.abc import Callable, Sequence
from itertools import repeat
from operator import length_hint
from typing import Any

from streamd.core.errors import BadData
from streamd.core.record_key import Key
from streamd.core.state_parts import Items
from streamd.windows.aggregates import CHUNK, Aggregates
from streamd.windows.keyed import LATE, PARTLY_LATE, TAKEN, Bucket, Closed, Keyed, Kind
from streamd.windows.losses import Losses
from streamd.windows.moments import NEVER, SECONDS, US, moment_of
from streamd.windows.rows import KeyedRows
from streamd.windows.timelines import KeyClock, PipelineClock, SenderClock, Timeline
from streamd.windows.tumbling import Tumbling

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
        self._slowly = self._add_by_key
        if isinstance(kind, Tumbling) and isinstance(clock, KeyClock):
            self._take, self._wait = kind.take, clock.wait
            self._slowly = self._add_tumbling

    def add(self, rows: KeyedRows, senders: Sequence[str] | None, mono_s: float) -> list[tuple[int, Closed]]:
        """Add rows, in order. Returns each window that closes, with the place of the record that closed it.

        `senders` has the sender of each row; None if the clock needs none.
        """
        closed = self._add(rows, mono_s) if senders is None else self._add_each(rows, senders, mono_s)
        self._rows_kept += len(rows.rows)
        if self._rows_kept >= ROWS_KEPT:
            self.fold()
        return closed

    def _add(self, rows: KeyedRows, mono_s: float) -> list[tuple[int, Closed]]:
        closed: list[tuple[int, Closed]] = []
        form = rows.form
        whole = self.kind.whole(*rows.span, form) if rows.span else None
        moments = iter(rows.moments)
        for keyed, at, row in zip(map(self.keys.get, rows.keys), moments, rows.rows, strict=True):
            if keyed is not None:
                fast = keyed.fast
                if fast is whole or fast[form][0] <= at < fast[form][1]:
                    keyed.rows.append(row)
                    keyed.seen_s = mono_s
                    continue
            index = len(rows.rows) - 1 - length_hint(moments)  # cheaper than to count each record
            place = rows.places[index]
            one = keyed
            if one is None:
                try:
                    one = self._of(rows.keys[index], rows.key_of)
                except BadData as bad:
                    rows.bad[place] = bad
                    continue
            moment_us = round(at * US) if form == SECONDS else moment_of(at, form)
            if windows := self._slowly(one, moment_us, row, place, mono_s):
                closed += [(place, window) for window in windows]
        return closed

    def _add_each(self, rows: KeyedRows, senders: Sequence[str], mono_s: float) -> list[tuple[int, Closed]]:
        closed: list[tuple[int, Closed]] = []
        all_of = zip(rows.keys, rows.moments_us, rows.rows, rows.places, senders, strict=True)
        for key, moment_us, row, place, sender in all_of:
            if windows := self._add_one(self._of(key, None), moment_us, row, sender, place, mono_s):
                closed += zip(repeat(place), windows)
        return closed

    def _add_one(
        self, keyed: Keyed, moment_us: int, row: Any, sender: str, place: int, mono_s: float
    ) -> list[Closed]:
        closed_until_us = keyed.watermark_us
        keyed.watermark_us = self.clock.watermark(keyed, sender)
        outcome = self.kind.put(keyed, moment_us, row, self.losses.seen)
        closed = self._late(outcome, keyed, moment_us, place) if outcome else []
        if outcome in (TAKEN, LATE):
            keyed.watermark_us = closed_until_us  # another sender may be slower
        return closed + self.clock.advance(keyed, sender, moment_us, mono_s, late=outcome == LATE)

    def _add_by_key(self, keyed: Keyed, moment_us: int, row: Any, place: int, mono_s: float) -> list[Closed]:
        """As `_add_one`, for keys with a watermark of their own."""
        outcome = self.kind.put(keyed, moment_us, row, self.losses.seen)
        if outcome:
            closed = self._late(outcome, keyed, moment_us, place)
            return closed + self.clock.advance(keyed, "", moment_us, mono_s)
        return self.clock.advance(keyed, "", moment_us, mono_s)

    def _late(self, outcome: int, keyed: Keyed, moment_us: int, place: int) -> list[Closed]:
        """Count a record that came after the end of a window; returns the windows that it changes."""
        if outcome == LATE:
            self.late.append((place, moment_us, keyed.watermark_us))
            return []
        self.partly_late += outcome == PARTLY_LATE
        closed = self.kind.updated(keyed, moment_us)
        self.updated += bool(closed)
        self.remade += len(closed)
        return closed

    def _add_tumbling(
        self, keyed: Keyed, moment_us: int, row: Any, place: int, mono_s: float
    ) -> list[Closed]:
        """As `_add_by_key`, for tumbling windows."""
        keyed.seen_s = mono_s
        watermark_us = keyed.watermark_us
        closed = self._take(keyed, moment_us, row, self.losses.seen)
        if closed is None:
            self.late.append((place, moment_us, watermark_us))
            return []
        if keyed.watermark_us != watermark_us:
            keyed.moved_s = mono_s
        if not keyed.is_queued:
            self._wait(keyed)
        return closed

    def _of(self, text: Key, key_of: Callable[[Sequence[Any]], Key] | None) -> Keyed:
        """The key, or the common one if there are too many. Raises `BadData` if `key_of` does."""
        key = text if key_of is None else key_of((text,))
        keyed = self.keys.get(key)
        if keyed is None and len(self.keys) >= self.max_keys:
            self.overflowed += 1
            key = OVERFLOW
            keyed = self.keys.get(OVERFLOW)
        if keyed is None:
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

    def dump(self) -> tuple[Any, ...]:
        """The keys and their open windows, for `parts_of`."""
        senders = {id(one): index for index, one in enumerate(self._senders().values())}
        seen, dump = self.losses.seen, self.aggregates.dump

        def stored(keyed: Keyed) -> list[Any]:
            return [
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
                        dump(bucket.states),
                    ]
                    for index, bucket in keyed.buckets.items()
                ],
            ]

        return (
            [[one.sender, one.watermark_us] for one in self._senders().values()],
            self.clock.whole.watermark_us if isinstance(self.clock, PipelineClock) else NEVER,
            Items(self.keys.values(), stored),
        )

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
                bucket = keyed.buckets[int(index)] = Bucket(seen)
                bucket.states = self.aggregates.load(states)
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
