from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import msgspec
from pydantic import Field, model_validator

from streamd.captures.captures import Captures, Due, Spans
from streamd.captures.packing import Packing, Shape
from streamd.captures.rings import Ring, Rings, StoredRing, moment_of
from streamd.core.arrival_clock import ArrivalClock
from streamd.core.batch import METADATA_KEYS, RECEIVED_AT, Record
from streamd.core.columns import RecordColumns
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.errors import BadData, ConfigError
from streamd.core.expression import Expression, ExpressionText
from streamd.core.field_names import FieldName, FieldNames, NewFieldName, refuse_unknown
from streamd.core.generations import Generations
from streamd.core.keyed import keyed
from streamd.core.now import Now
from streamd.core.record_key import Key, KeyTexts, RecordKey, plain_names, same_key
from streamd.core.settings import DurationS, Settings, SizeBytes
from streamd.core.state_parts import Items, as_it_is, parts_of
from streamd.core.timestamp import all_canonical
from streamd.windows.moments import NEVER, US, moment, of_canonical

MOST_AT_ONCE = 4096
"""Most captured records that one batch or tick emits, unless the batch itself has more."""
_DEFAULT_MAX_FUTURE_S = 300.0

_State = tuple[
    Literal["capture"], float, float | None, int, list[Shape], dict[Any, StoredRing], dict[Any, StoredRing],
    list[tuple[int, list[bytes]]], list[int], list[Due],
]  # fmt: skip
"""The wall clock, the age of the newer generation, the time up to which keys were forgotten, the shapes, the
rings of both generations, the remembered records in chunks, the order of their rings, and what is due."""


class Capture(Step["Capture.Config"]):
    """Records the minutes around flagged records, for each key. All records pass unchanged.

    A record for which `when` is true begins a capture of its key. The remembered records of the last `before`
    are emitted, then the flagged one, then those of the time up to `after` behind it as they come. Each is a
    copy with five more fields: `capture` (the id of the capture), `capture_row` (its number in the capture,
    from 0), `capture_offset_s` (the seconds since the first flagged record), `capture_flagged` (whether
    `when` is true for it) and `capture_complete` (false if records of this time are missing, because they
    could not be remembered or because a record with a later time had ended their `before`).

    If the time around a flagged record overlaps a capture of its key, it prolongs that capture, up to
    `longest` behind its first flagged record. So each record is captured once. The id is made of the key and
    the time of the first flagged record. It is the same if a file is read again, provided that `time` names a
    field.

    A record without a usable time passes and is not remembered. One without a key is rejected
    (`key:missing`), and one on which `when` fails (`expr:…`).

    A record costs about 1.8 µs, and 0.7 µs more with `time`; a captured one 3 µs more. A remembered record
    takes its values as MessagePack and about 60 bytes, a key about 320 bytes. A reading with its band and
    metadata takes about 180 bytes, with `fields = ["value"]` about 130.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "captures": "captures that flagged records began",
        "captured": "records emitted as part of a capture",
        "not_captured": "flagged records that belong to no capture: every has not passed, or no usable time",
        "not_remembered": "values (merge) or records (capture) that could not be remembered: too long or too"
        " many, of a kind that cannot be stored, or without a usable time",
        "forgotten": "keys whose state was forgotten because of max_keys or a long silence",
    }

    class Config(Settings):
        """Which records are flagged, and what is kept around them."""

        when: ExpressionText = Field(
            description="an expression, like `anomaly`; a record for which it is true is a flagged one"
        )
        key: KeyTexts = Field(
            [],
            description="expressions, mostly names of fields: each combination of their values has its own"
            " captures. Default: all records belong together",
        )
        before: DurationS = Field(
            "5m",  # type: ignore[assignment]  # parsed by the validator
            description="how much of the time before a flagged record belongs to a capture",
        )
        after: DurationS = Field(
            "1m",  # type: ignore[assignment]  # parsed by the validator
            description="how much of the time behind a flagged record belongs to a capture",
        )
        longest: DurationS = Field(
            "1h",  # type: ignore[assignment]  # parsed by the validator
            gt=0,
            description="a capture ends at the latest this long after its first flagged record",
        )
        every: DurationS = Field(
            "0s",  # type: ignore[assignment]  # parsed by the validator
            description="a capture begins at the earliest this long after the last one of its key began",
        )
        fields: FieldNames | None = Field(
            None,
            description="the fields that are captured, beside the metadata and the fields of `key`. Default:"
            " all",
        )
        time: FieldName | None = Field(
            None,
            description="field with the time of the record: RFC 3339, ISO 8601 or seconds since 1970."
            " Default: the time of receipt",
        )
        max_future: DurationS | None = Field(
            None,
            description="a time that is later than the receipt of its record by more is not usable. Default:"
            " 5m",
        )
        name: NewFieldName = Field(
            "capture",
            description="the name of the id; the other fields are NAME_row, NAME_offset_s, NAME_flagged and"
            " NAME_complete",
        )
        max_records: int = Field(
            10_000, ge=1, le=10_000_000, description="most records of a key that are remembered"
        )
        max_bytes: SizeBytes = Field(
            "16MiB",  # type: ignore[assignment]  # parsed by the validator
            ge=1024,
            description="most memory for the remembered records of all keys; beyond it the oldest are"
            " forgotten",
        )
        max_keys: int = Field(
            100_000,
            ge=2,
            le=10_000_000,
            description="most keys that are remembered; beyond it the half that was silent longer is"
            " forgotten",
        )
        forget_after: DurationS = Field(
            "7d",  # type: ignore[assignment]  # parsed by the validator
            gt=0,
            description="a key without records for this time, at most twice of it, is forgotten",
        )

        @model_validator(mode="after")
        def _check(self) -> Self:
            if self.longest < self.after:
                raise ValueError("longest is not shorter than after")
            for name in ("before", "every"):
                if getattr(self, name) > self.forget_after:
                    raise ValueError(f"forget_after is not shorter than {name}")
            if self.max_future is not None and self.time is None:
                raise ValueError("max_future belongs to time")
            return self

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        refuse_unknown(config.fields or [], context.fields, "fields")
        refuse_unknown([config.time] if config.time else [], context.fields, "time")
        self._key: Callable[[Record], Key] = (
            RecordKey(config.key, context.fields).of if config.key else same_key
        )
        try:
            self._when = Expression(config.when, context.fields)
        except ValueError as error:
            raise ConfigError(str(error), ("when",)) from None
        names = None
        if config.fields is not None:
            names = list(dict.fromkeys([*METADATA_KEYS, *plain_names(config.key), *config.fields]))
        self._packing = Packing(names)
        self._rings = Rings(round(config.before * US), config.max_records, config.max_bytes)
        spans = Spans(config.before, config.after, config.longest, config.every)
        self._captures = Captures(spans, self._rings, self._packing, config.name, context.pipeline)
        if taken := [
            one for one in self._captures.names if one in {*(context.fields or ()), *(config.fields or ())}
        ]:
            raise ConfigError(f"there is a field {taken[0]!r} already: choose another `name`", ("name",))
        max_future_s = _DEFAULT_MAX_FUTURE_S if config.max_future is None else config.max_future
        self._max_future_us = round(max_future_s * US)
        self._clock = ArrivalClock()
        self._keys = Generations[Ring](config.max_keys, config.forget_after)
        self._lost_us = NEVER
        """Up to this time records of keys that are forgotten may be missing."""
        self._due_s: float | None = None
        self._received_at: tuple[Any, int] = None, 0
        """A time of receipt, as text and in microseconds."""

    def process(self, records: list[Record], now: Now) -> Processed:
        at_s = self._clock.read(now)
        if dropped := self._keys.turn(at_s):
            self._forget(dropped)
        done = Processed([])
        keys, good, flags = self._flagged(*keyed(self._key, records, done), done.rejects)
        done.records = good.copy()
        generations, pack, rings, captures = self._keys, self._packing.pack, self._rings, self._captures
        not_captured = unusable = 0
        moments = self._moments(good, now)
        for record, key, flag, moment_us in zip(good, keys, flags, moments, strict=True):
            if moment_us is None:
                unusable += 1
                not_captured += flag
                continue
            ring = generations.newer.get(key) or self._ring(key, at_s)
            if flag and not captures.flag(key, ring, moment_us):
                not_captured += 1
            packed = pack(record, moment_us << 1 | flag)
            if packed is None:
                rings.lose(ring, moment_us)
            elif ring.low_us <= moment_us <= ring.high_us:
                captures.add(ring, [packed])
            else:
                rings.add(ring, packed, moment_us)
        generations.put(at_s)
        self._count(not_captured=not_captured, not_remembered=rings.lost + unusable, captures=captures.begun)
        rings.lost = captures.begun = 0
        if captures.due:
            rows = self._rows(max(MOST_AT_ONCE, 2 * len(records)))
            done.records += rows
            done.emitted = len(rows)
            if captures.due and self._due_s is None:
                self._due_s = now.mono_s
        return done

    def _flagged(
        self, keys: Sequence[Key], records: list[Record], rejects: list[BadRecord]
    ) -> tuple[Sequence[Key], list[Record], Sequence[bool]]:
        """Whether each record is flagged, with the keys and the records for which that can be said."""
        flags = self._when.tests(RecordColumns(records))
        if flags is not None:
            return keys, records, flags
        good = []
        for key, record in zip(keys, records, strict=True):
            try:
                good.append((key, record, self._when.test(record)))
            except BadData as bad:
                rejects.append(BadRecord(record, bad.reason, bad.detail))
        return [key for key, _, _ in good], [record for _, record, _ in good], [flag for _, _, flag in good]

    def _moments(self, records: list[Record], now: Now) -> Sequence[int | None]:
        """The time of each record in microseconds; None if it is not usable."""
        received = self._received(records, now)
        if self.config.time is None:
            return received
        values: list[Any] = [record.get(self.config.time) for record in records]
        if set(map(type, values)) == {str} and all_canonical(values):
            moments: list[Any] = list(map(of_canonical, values))
        else:
            moments = [_made(moment, value) for value in values]
        most_us = self._max_future_us
        return [
            None if isinstance(at_us, BadData) or at_us > received_us + most_us else at_us
            for at_us, received_us in zip(moments, received, strict=True)
        ]

    def _received(self, records: list[Record], now: Now) -> list[int]:
        """When each record was received, in microseconds."""
        before, received_us = self._received_at
        received: list[int] = []
        for record in records:
            text = record.get(RECEIVED_AT)
            if text is None or text != before:  # the records of one read have the same text
                found = _made(moment, text)
                before, received_us = text, round(now.wall_s * US) if isinstance(found, BadData) else found
            received.append(received_us)
        self._received_at = before, received_us
        return received

    def _ring(self, key: Key, at_s: float) -> Ring:
        """The ring of a key that is not in the newer generation."""
        generations = self._keys
        ring = generations.older.pop(key, None)
        if len(generations.newer) >= generations.half:
            self._forget(generations.make_room(at_s))
        if ring is None:
            ring = Ring(self._lost_us)
        generations.newer[key] = ring
        return ring

    def _forget(self, dropped: Mapping[Key, Ring]) -> None:
        self._count(forgotten=len(dropped))
        for ring in dropped.values():
            last_us = max(map(moment_of, ring.live()), default=NEVER)
            self._lost_us = max(self._lost_us, ring.lost_us, ring.high_us, last_us)
            self._rings.forget(ring)

    def _count(self, **counts: int) -> None:
        for name, count in counts.items():
            if count:
                self.context.counters.add(name, count)

    def _rows(self, most: int) -> list[Record]:
        rows = self._captures.rows(most)
        self._count(captured=len(rows))
        if not self._captures.due:
            self._due_s = None
        return rows

    def next_deadline(self) -> float | None:
        return self._due_s

    def tick(self, now: Now) -> Processed:
        del now
        return Processed(self._rows(MOST_AT_ONCE))

    def snapshot_parts(self) -> Iterator[bytes]:
        generations, rings = self._keys, self._rings
        if not generations:
            return
        rings.tidy()
        every = [*generations.newer.values(), *generations.older.values()]
        numbers = {ring: number for number, ring in enumerate(every)}
        age_s, *both = generations.stored(self._clock.at_s, Ring.stored)
        yield from parts_of((
            "capture",
            self._clock.wall_s,
            age_s,
            self._lost_us,
            self._packing.shapes,
            *both,
            Items(rings.chunks(every), as_it_is, 1),
            Items(rings.order, numbers.__getitem__),
            Items(self._captures.due, as_it_is, 1),
        ))  # fmt: skip

    def restore(self, state: bytes, now: Now) -> None:
        _, wall_s, age_s, lost_us, shapes, newer, older, chunks, order, due = msgspec.msgpack.decode(
            state, type=_State
        )
        self._clock.restore(wall_s, now)
        self._lost_us = lost_us
        self._packing.restore(shapes)
        self._keys.restore(age_s, newer, older, Ring.of_stored)
        rings = [*self._keys.newer.values(), *self._keys.older.values()]
        self._rings.restore(rings, chunks, order)
        self._captures.restore(due)
        self._due_s = now.mono_s if due else None

    def fields_after(self) -> frozenset[str] | None:
        known = self.context.fields
        return None if known is None else known.union(self._captures.names)


def _made(make: Callable[[Any], Any], value: Any) -> Any:
    """The result; the exception if it is `BadData`."""
    try:
        return make(value)
    except BadData as bad:
        return bad
