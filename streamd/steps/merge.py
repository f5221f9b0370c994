from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec
from pydantic import Field

from streamd.core.batch import RECEIVED_AT, Record, received_at_of
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.errors import BadData, ConfigError
from streamd.core.field_names import FieldName, FieldNames, refuse_unknown
from streamd.core.now import Now
from streamd.core.record_key import Key, KeyTexts, RecordKey
from streamd.core.settings import DurationS, Settings
from streamd.core.state_parts import Items, parts_of
from streamd.core.timestamp import canonical

MAX_VALUE_BYTES = 1024
"""Longest remembered value: a text in UTF-8, or MessagePack."""
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1
"""The integers of MessagePack."""

_Remembered = list[Any]
"""Of each field, its value as it is stored and the time of its record (seconds since 1970), or None twice."""
_State = tuple[Literal["merge"], int, list[tuple[Any, list[Any]]]]
"""The number of fields, and the keys with what is remembered, from the oldest to the newest."""


class Merge(Step["Merge.Config"]):
    """Adds fields of the last record of the same key: a device sends its position rarely, its values often.

    A field of `fields` that a record has, and that is not null, is remembered for its key. A record that
    lacks the field, or has null in it, gets the remembered value, unless that is older than `max_age` or of a
    later time than the record (records may arrive out of order). Nothing is added if nothing is remembered.

    The time of a record is the field `time`, or when it was received. With `time` the result depends on the
    records alone, so a file that is read again after a crash gives the same result.

    Beyond `max_keys` the key whose fields were updated longest ago is forgotten and counted (`forgotten`). A
    value of more than 1,024 bytes, or one that cannot be stored, is not remembered, and counted
    (`not_remembered`); the one before it is forgotten. A key with two remembered numbers takes about 220
    bytes, and in the stored state about 50.

    A record without any of the key fields is rejected (`key:missing`), one without a readable time too
    (`timestamp:…`). A record costs about 1.2 µs with one key field and two merged
    ones, and 1 µs more with `time`.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "merged": "fields that were added to records",
        "forgotten": "keys whose state was forgotten because of max_keys or a long silence",
        "not_remembered": "values (merge) or records (capture) that could not be remembered: too long or too"
        " many, of a kind that cannot be stored, or without a usable time",
    }

    class Config(Settings):
        """Which fields are added to which records."""

        key: KeyTexts = Field(
            min_length=1,
            description="expressions, mostly names of fields; records with the same values belong together",
        )
        fields: FieldNames = Field(description="names of the fields that are remembered and added")
        max_age: DurationS = Field(gt=0, description="greatest age of a remembered value that is added")
        time: FieldName | None = Field(
            None,
            description="name of the field with the time of the record, as a timestamp. Default: the time of"
            " receipt",
        )
        max_keys: int = Field(100_000, ge=1, le=50_000_000, description="most keys that are remembered")

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        refuse_unknown(config.fields, context.fields, "fields")
        if config.time is not None:
            refuse_unknown([config.time], context.fields, "time")
            if config.time in config.fields:
                raise ConfigError(
                    f"{config.time!r} is the time of the record and cannot be merged", ("time",)
                )
        self._key: Callable[[Record], Key] = RecordKey(config.key, context.fields).of
        self._last: dict[Key, _Remembered] = {}
        """By key, the one that was updated longest ago first."""
        self._places = [(2 * index, name) for index, name in enumerate(config.fields)]
        self._width = 2 * len(config.fields)
        self._received_at = "", 0.0
        """A time of receipt, as text and in seconds."""

    def process(self, records: list[Record], now: Now) -> Processed:
        done = Processed([])
        counts: Counter[str] = Counter()
        for record in records:
            try:
                key, at_s = self._key(record), self._seconds(record, now)
            except BadData as bad:
                done.rejects.append(BadRecord(record, bad.reason, bad.detail))
                continue
            self._merge(record, key, at_s, counts)  # in place: the record is not rejected any more
            done.records.append(record)
        for name, n in counts.items():
            self.context.counters.add(name, n)
        return done

    def _seconds(self, record: Record, now: Now) -> float:
        """The time of a record (seconds since 1970). Raises `BadData`."""
        if self.config.time is not None:
            return datetime.fromisoformat(canonical(record.get(self.config.time))).timestamp()
        text = record.get(RECEIVED_AT)
        if type(text) is not str:
            return now.wall_s
        if text != self._received_at[0]:  # the records of one read have the same text
            self._received_at = text, received_at_of(record, now.wall_s)
        return self._received_at[1]

    def _merge(self, record: Record, key: Key, at_s: float, counts: Counter[str]) -> None:
        """Remember the fields that the record has, and add those that it lacks."""
        last, max_age_s = self._last, self.config.max_age
        remembered = last.get(key)
        has_news = False
        for place, name in self._places:
            value = record.get(name)
            if value is not None:
                if remembered is None:
                    remembered = [None] * self._width
                has_news = True
                since_s = remembered[place + 1]
                if since_s is not None and since_s > at_s:
                    continue
                stored = _stored(value)
                if stored is None:
                    counts["not_remembered"] += 1
                remembered[place], remembered[place + 1] = stored, None if stored is None else at_s
            elif remembered is not None:
                since_s = remembered[place + 1]
                if since_s is not None and 0.0 <= at_s - since_s <= max_age_s:
                    record[name] = _value(remembered[place])
                    counts["merged"] += 1
        if has_news and remembered is not None:
            if last.pop(key, None) is None and len(last) >= self.config.max_keys:
                del last[next(iter(last))]
                counts["forgotten"] += 1
            last[key] = remembered  # behind all others, as the newest

    def snapshot_parts(self) -> Iterator[bytes]:
        if self._last:
            items = Items(self._last.items(), lambda item: item)
            yield from parts_of(("merge", len(self.config.fields), items))

    def restore(self, state: bytes, now: Now) -> None:
        del now
        _, width, items = msgspec.msgpack.decode(state, type=_State)
        for key, remembered in items:
            if type(key) not in (str, bytes) or width != len(self.config.fields):
                raise ValueError("not the state of a merge step with these fields")
            if len(remembered) != 2 * width:
                raise ValueError("not the state of a merge step with these fields")
        self._last = dict(items)

    def fields_after(self) -> frozenset[str] | None:
        return self.context.fields


def _stored(value: Any) -> Any:
    """The value as it is remembered; None if it is too long or cannot be stored.

    Numbers and texts stay what they are. Other values become a list with their MessagePack, so that later
    changes of the record do not change them.
    """
    kind = type(value)
    if kind is float or kind is bool:
        return value
    if kind is int:
        return value if _MIN_INTEGER <= value <= _MAX_INTEGER else None
    try:
        if kind is str:
            return value if len(value) <= MAX_VALUE_BYTES >= len(value.encode()) else None
        packed = msgspec.msgpack.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    return [packed] if len(packed) <= MAX_VALUE_BYTES else None


def _value(stored: Any) -> Any:
    return msgspec.msgpack.decode(stored[0]) if type(stored) is list else stored
