"""Reads the columns that windows need: keys, times and rows. Finds the records that have none."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

from streamd.core.batch import RECEIVED_AT
from streamd.core.columns import Columns
from streamd.core.errors import BadData
from streamd.core.json_rules import INT_MAX, INT_MIN
from streamd.core.record_key import Key, RecordKey
from streamd.core.timestamp import all_canonical, canonical, from_epoch
from streamd.windows.aggregates import Aggregates
from streamd.windows.moments import (
    MICROSECONDS,
    NEVER,
    SECONDS,
    TEXT,
    US,
    moment,
    of_canonical,
    text_of,
)

FIRST_YEAR, LAST_YEAR = "0100", "9900"
"""Earlier and later times are rejected, so that the bounds of their windows are in the years 0001 to 9999."""
_FIRST_US, _LAST_US = (moment(f"{year}-01-01T00:00:00Z") for year in (FIRST_YEAR, LAST_YEAR))
_NUMBERS = frozenset({int, float})
_EXACT_S = 2.0**33
"""Seconds around 1970 up to which a float is exact enough to be compared with the bounds of a window."""


class Received:
    """The times of receipt of a batch, of which there are few different ones."""

    def __init__(self, columns: Columns, wall_s: float) -> None:
        """Records without a valid time were received at `wall_s`."""
        self._columns = columns
        self._wall_s = wall_s

    def texts(self) -> Sequence[str]:
        """The canonical text of each."""
        values = list(self._columns.column(RECEIVED_AT))
        if all_canonical(values):
            return values
        texts = {value: self._text(value) for value in set(map(_hashable, values))}
        return [texts[_hashable(value)] for value in values]

    def first_us(self) -> int:
        """The earliest time."""
        try:
            different = self._columns.different(RECEIVED_AT)
        except TypeError:
            different = set(map(_hashable, self._columns.column(RECEIVED_AT)))
        return min(of_canonical(self._text(value)) for value in different)

    def _text(self, value: Any) -> str:
        try:
            return canonical(value)
        except BadData:
            return from_epoch(self._wall_s)


def _hashable(value: Any) -> str | float | None:
    return value if isinstance(value, str | float | int) else None


@dataclass(slots=True)
class KeyedRows:
    """The good records of a batch, in order."""

    keys: Sequence[Key]
    moments: Sequence[Any]
    form: int
    """What the times are: canonical texts, microseconds or seconds (`TEXT`, `MICROSECONDS`, `SECONDS`)."""
    rows: Sequence[Any]
    """What the aggregates keeps of each record."""
    places: Sequence[int]
    """The index of each record in the batch."""
    key_of: Callable[[Sequence[Any]], Key] | None = None
    """Makes a key of a text in `keys` that is not known as a key yet; None if all are keys."""
    span: tuple[Any, Any] | None = None
    """The earliest and the latest time, if they are known."""
    bad: dict[int, BadData] = field(default_factory=dict)
    """The records that are rejected, by their index."""

    @property
    def moments_us(self) -> Sequence[int]:
        """The times in microseconds."""
        return in_microseconds(self.moments, self.form)


class Reader:
    """Reads the rows of a aggregates. `time` is the field with the time; None: the time of receipt."""

    def __init__(self, time: str | None, max_future_us: int, aggregates: Aggregates) -> None:
        self._time = time
        self._max_future_us = max_future_us
        self._aggregates = aggregates

    def read(
        self,
        columns: Columns,
        keys: Sequence[Any],
        received: Received,
        key_of: Callable[[Sequence[Any]], Key] | None = None,
    ) -> KeyedRows:
        """The rows of at least one record, with their keys and their times of receipt.

        `key_of`: the keys are texts that may be no keys yet.
        """
        bad: dict[int, BadData] = {}
        count = len(columns)
        good_keys = self._good(keys, bad)
        moments: Sequence[Any]
        span: tuple[Any, Any] | None = None
        if self._time is None:
            moments, form = received.texts(), TEXT
        else:
            moments, form, span = _moments(columns.column(self._time), bad)
            _find_future(moments, form, span[1], received, self._max_future_us, bad)
        fields = [columns.column(name) for name in self._aggregates.fields]
        for name, values, takes in zip(self._aggregates.fields, fields, self._aggregates.takes, strict=True):
            _check(name, values, takes, bad)
        if self._aggregates.is_timed:
            moments, form, span = in_microseconds(moments, form), MICROSECONDS, None
        rows: Sequence[Any]
        if self._aggregates.is_plain:
            rows = fields[0] if fields else [None] * count
        else:
            rows = list(zip(*((moments,) if self._aggregates.is_timed else ()), *fields, strict=True))
        if not bad:
            return KeyedRows(good_keys, moments, form, rows, range(count), key_of, span)
        if key_of is not None:  # the fault of a key is named first
            faults = {index: _made(key_of, (keys[index],)) for index in bad}
            bad |= {index: fault for index, fault in faults.items() if isinstance(fault, BadData)}
        good = [index not in bad for index in range(count)]
        chosen = [list(compress(one, good)) for one in (good_keys, moments, rows)]
        return KeyedRows(
            chosen[0], chosen[1], form, chosen[2], list(compress(range(count), good)), key_of, None, bad
        )

    @staticmethod
    def _good(keys: Sequence[Key | BadData], bad: dict[int, BadData]) -> Sequence[Any]:
        if BadData in set(map(type, keys)):
            bad.update({index: key for index, key in enumerate(keys) if isinstance(key, BadData)})
        return keys


def are_texts(values: Sequence[Any]) -> bool:
    """Whether all values are texts."""
    return set(map(type, values)) == {str}


def keys_of_columns(key: RecordKey, columns: Sequence[Sequence[Any]]) -> Sequence[Key | BadData]:
    """The key of each record, from the columns of its fields."""
    keys = key.of_columns(columns)
    return keys if keys is not None else [_made(key.of_values, row) for row in zip(*columns, strict=True)]


def keys_of_records(key: RecordKey, records: Sequence[Any]) -> Sequence[Key | BadData]:
    """The key of each record."""
    return [_made(key.of, record) for record in records]


def _made(make: Callable[[Any], Any], value: Any) -> Any:
    try:
        return make(value)
    except BadData as bad:
        return bad


def in_microseconds(moments: Sequence[Any], form: int) -> Sequence[int]:
    """Times of a form in microseconds."""
    if form == TEXT:
        return list(map(of_canonical, moments))
    return [round(at * US) for at in moments] if form == SECONDS else moments


def _moments(values: Sequence[Any], bad: dict[int, BadData]) -> tuple[Sequence[Any], int, tuple[Any, Any]]:
    """The times, their form, the earliest and the latest. There is at least one."""
    kinds = set(map(type, values))
    if kinds == {str} and all_canonical(values if isinstance(values, list) else list(values)):
        span = min(values), max(values)
        if span[0] >= FIRST_YEAR and span[1] < LAST_YEAR:
            return values, TEXT, span
    elif kinds <= _NUMBERS:
        span = min(values), max(values)
        if (
            span[0] > -_EXACT_S
            and span[1] < _EXACT_S
            and (float not in kinds or math.isfinite(sum(values)))  # NaN compares as it likes
        ):
            return values, SECONDS, span
    moments = []
    for index, value in enumerate(values):
        at, fault = NEVER, f"outside the years {FIRST_YEAR} to {LAST_YEAR}"
        try:
            at = moment(value)
        except BadData as error:
            fault = "no time" if value is None else error.detail
        if not _FIRST_US <= at < _LAST_US:
            bad.setdefault(index, BadData("window:time", fault))
        moments.append(at)
    return moments, MICROSECONDS, (min(moments), max(moments))


def _find_future(
    moments: Sequence[Any],
    form: int,
    newest: Any,
    received: Received,
    max_future_us: int,
    bad: dict[int, BadData],
) -> None:
    """Reject the times that are later than the receipt by more than `max_future_us`."""
    if not moments:
        return
    first_us = received.first_us() + max_future_us
    if newest < (text_of(first_us), first_us, first_us / US)[form]:
        return
    every = zip(in_microseconds(moments, form), received.texts(), strict=True)
    for index, (at_us, received_at) in enumerate(every):
        ahead_us = at_us - of_canonical(received_at)
        if ahead_us > max_future_us:
            detail = f"{text_of(at_us)} is {ahead_us / US:.6g} s after the receipt"
            bad.setdefault(index, BadData("window:future", detail))


def _check(name: str, values: Sequence[Any], takes: frozenset[type] | None, bad: dict[int, BadData]) -> None:
    """Reject the values that the aggregates of the field do not take."""
    if takes is None:
        return
    kinds = set(map(type, values))
    if (
        not kinds
        or (kinds == {float} and math.isfinite(sum(values)))
        or (kinds == {int} and min(values) >= INT_MIN and max(values) <= INT_MAX)
        or (kinds == {str} and str in takes and "".join(values).isascii())
    ):
        return
    for index, value in enumerate(values):
        if value is not None and (fault := _fault(value, takes)):
            bad.setdefault(index, BadData("window:value", f"{name}: {fault}"))


def _fault(value: Any, takes: frozenset[type]) -> str:
    """Why a value is not taken; empty if it is."""
    kind = type(value)
    if kind not in takes:
        return f"expected {'a number' if str not in takes else 'a single value'}, got {kind.__name__}"
    if kind is float and not math.isfinite(value):
        return f"{value} is not finite"
    if kind is int and not INT_MIN <= value <= INT_MAX:
        return "an integer beyond 64 bits"
    if kind is str and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "half of a surrogate pair"
    return ""
