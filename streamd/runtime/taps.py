"""The points of the daemon at which taps look, and the taps that look there now."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import structlog

from streamd.core.batch import PEER, RECEIVED_AT, SOURCE, Batch, Record
from streamd.core.clock import read_clock
from streamd.core.contracts import Processed
from streamd.core.now import Now
from streamd.core.timestamp import from_epoch
from streamd.runtime.tap import CONCEALED_PRICE, MAX_TAPS, Portion, Reason, Tap, TapOptions

log = structlog.get_logger()

_NUMBER = re.compile(r"\[\d+\]$")


class Hook(Protocol):
    """A part of the daemon that records pass. With no tap, a batch costs it one look at `tap`."""

    tap: "Point | None"


class Point:
    """One place of an assembly at which taps may look: its name, its hook, and the taps that are there now.

    `conceals` are functions of later steps that redact the records. They are applied to the shown ones here
    too, and before a condition, so that a tap before such a step does not show what the step hides.
    """

    def __init__(
        self, name: str, hook: Hook, conceals: Mapping[str, Callable[[Record], Record]] | None = None
    ) -> None:
        self.name = name
        self.hook = hook
        self.conceals = conceals or {}
        """By the name of the step."""
        self.taps: list[Tap] = []
        self.clock: Callable[[], Now] = read_clock

    def add(self, tap: Tap) -> None:
        """Let a tap look at the records."""
        self.taps.append(tap)
        self.hook.tap = self

    def remove(self, tap: Tap) -> None:
        """Let a tap look no more."""
        self.taps = [other for other in self.taps if other is not tap]
        if not self.taps:
            self.hook.tap = None

    def see_batch(self, batch: Batch) -> None:
        """The records of a batch pass, with their metadata."""
        if batch.lifted:
            self._see(len(batch), batch.record)
        else:
            self._see(len(batch), lambda place: _lifted(batch, place), batch.record)

    def see_processed(self, outcomes: Sequence[Processed]) -> None:
        """The records that a step has put out pass."""
        for done in outcomes:
            columns = done.columns
            if columns is None:
                self._see(len(done.records), done.records.__getitem__)
            else:
                self._see(len(columns), columns.record)

    def _see(
        self,
        count: int,
        record_at: Callable[[int], Record],
        bare_at: Callable[[int], Record] | None = None,
    ) -> None:
        if not count:
            return
        now = self.clock()
        price = 1
        if self.conceals:
            price, bare_at = CONCEALED_PRICE, None
            functions, whole = list(self.conceals.values()), record_at

            def record_at(place: int) -> Record:
                record = whole(place)
                for conceal in functions:
                    record = conceal(record)
                return record

        for tap in self.taps:
            try:
                tap.see(count, record_at, now, price, bare_at)
            except Exception:  # a fault here must not stop the records
                log.exception("tap_failed", point=self.name)
                tap.end("failed", now)


_text_of = lru_cache(maxsize=8)(from_epoch)
"""Many records of a batch have one time."""


def _lifted(batch: Batch, place: int) -> Record:
    record = batch.record(place)
    if batch.fields is None:
        record = record.copy()
    record[SOURCE] = batch.source
    record[PEER] = batch.peers[place]
    record[RECEIVED_AT] = _text_of(batch.received_at[place])
    return record


@dataclass(slots=True)
class TapCounts:
    """What the taps of this run have done."""

    opened: int = 0
    refused: int = 0
    """Requests while there were `MAX_TAPS` taps."""
    shown: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """By reason, see `SKIPS`."""


class TooManyTapsError(Exception):
    """There are `MAX_TAPS` taps."""


class Taps:
    """All taps of the daemon, and the points of its assembly.

    During a reload there are two assemblies, and a tap looks at the point in both. After it, the tap goes on
    at the new point of the same name; without one it ends.
    """

    def __init__(self, clock: Callable[[], Now] = read_clock, seed: int | None = None) -> None:
        self.counts = TapCounts()
        self._clock = clock
        self._rng = random.Random(seed)  # noqa: S311 - a sample is no secret
        self._open: list[Tap] = []
        self._assemblies: list[dict[str, Point]] = []

    def __len__(self) -> int:
        return len(self._open)

    @property
    def points(self) -> Mapping[str, Point]:
        """The points of the newest assembly, by name, in the order of the flow."""
        return self._assemblies[-1] if self._assemblies else {}

    def find(self, name: str) -> str | None:
        """The full name of a point. The kind, and the number of a step, may be left out if one point fits."""
        if name in self.points:
            return name
        fitting = [
            point
            for point in self.points
            if name
            in {point.partition(":")[2], _NUMBER.sub("", point), _NUMBER.sub("", point).partition(":")[2]}
        ]
        return fitting[0] if len(fitting) == 1 else None

    def attach(self, points: Iterable[Point]) -> None:
        """Let taps look at the points of an assembly, beside those of the one before."""
        assembly = {point.name: point for point in points}
        for point in assembly.values():
            point.clock = self._clock
        self._assemblies.append(assembly)
        for tap in self._open:
            if tap.point in assembly:
                assembly[tap.point].add(tap)

    def replaced(self) -> None:
        """The newest assembly has replaced the others: end the taps whose point is gone."""
        del self._assemblies[:-1]
        for tap in self._open:
            if tap.point not in self.points:
                tap.end("removed", self._clock())

    def open(self, point: str, wanted: TapOptions) -> Tap:
        """A new tap, for `close`. Raises `KeyError` for an unknown point, and `TooManyTapsError`."""
        if point not in self.points:
            raise KeyError(point)
        if len(self._open) >= MAX_TAPS:
            self.counts.refused += 1
            raise TooManyTapsError
        tap = Tap(point, wanted, self._clock(), random.Random(self._rng.random()))  # noqa: S311 - the same
        self.counts.opened += 1
        self._open.append(tap)
        for assembly in self._assemblies:
            if point in assembly:
                assembly[point].add(tap)
        return tap

    def take(self, tap: Tap) -> Portion:
        """The next portion of a tap, which is counted."""
        portion = tap.take(self._clock())
        self.counts.shown += len(portion.events)
        self.counts.skipped.update(portion.skipped)
        return portion

    def wait_s(self, tap: Tap) -> float:
        """How long the reader of a tap has to wait for its next portion."""
        return tap.wait_s(self._clock())

    def close(self, tap: Tap) -> None:
        """The reader of a tap is gone. What it has not taken counts as skipped."""
        if tap not in self._open:
            return
        self._open.remove(tap)
        for assembly in self._assemblies:
            if tap.point in assembly:
                assembly[tap.point].remove(tap)
        tap.end("stopping", self._clock())
        unread = tap.take(self._clock())
        self.counts.skipped.update(unread.skipped)
        self.counts.skipped["slow"] += len(unread.events)

    def end(self, reason: Reason) -> None:
        """End all taps. Their readers can still take what is there."""
        for tap in self._open:
            tap.end(reason, self._clock())
