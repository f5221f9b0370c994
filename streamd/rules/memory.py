"""The memory of rules: values that were seen within a time, and the last good value of each device."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from math import inf
from operator import neg
from typing import Any

import msgspec

from streamd.core.batch import Record
from streamd.core.errors import BadData
from streamd.core.generations import Generations
from streamd.core.record_key import Key, RecordKey
from streamd.core.state_parts import as_it_is, parts_of

MAX_VALUE_CHARS = 256
"""Longest text that is remembered as a last good value."""

Snapshot = tuple[float | None, dict[Any, Any], dict[Any, Any]]
"""The age of the newer generation, and both generations. Times are ages."""


class Memory(ABC):
    """A bounded memory of keys, aged by a clock that its owner sets for each batch."""

    def __init__(self, key: RecordKey, max_keys: int, lifetime_s: float) -> None:
        self._key = key.of
        self._kept: Generations[Any] = Generations(max_keys, lifetime_s)
        self._at_s = 0.0
        self.forgotten = 0
        """Keys forgotten early because there were more than `max_keys`; the owner takes the number."""

    def begin(self, at_s: float) -> None:
        """A batch begins at this time."""
        self._at_s = at_s
        self._kept.turn(at_s)

    def _put(self, key: Any, value: Any) -> None:
        kept = self._kept
        if key not in kept.newer and len(kept.newer) >= kept.half:
            self.forgotten += sum(map(self._is_of_use, kept.make_room(self._at_s).values()))
        kept.newer[key] = value
        kept.put(self._at_s)

    def _get(self, key: Any) -> Any:
        kept = self._kept
        found = kept.newer.get(key)
        return kept.older.get(key) if found is None else found

    @abstractmethod
    def _is_of_use(self, value: Any) -> bool:
        """Whether a forgotten value was still of use."""

    def __len__(self) -> int:
        return len(self._kept)

    @abstractmethod
    def stored(self) -> tuple[Any, ...]:
        """A `Snapshot` with its dicts as `Entries`."""


class SeenKeys(Memory):
    """The keys of the records of the last `lifetime_s`.

    A key takes about 100 bytes, up to 270 if it is long.
    """

    def __init__(self, key: RecordKey, max_keys: int, lifetime_s: float) -> None:
        super().__init__(key, max_keys, lifetime_s)
        self._lifetime_s = lifetime_s
        self._new: Key | None = None

    def _is_of_use(self, value: float) -> bool:
        return value > self._at_s - self._lifetime_s

    def fault(self, record: Record) -> str | None:
        """Why the record is not unique; None if it is. Costs about 0.4 µs with one text as key."""
        self._new = None
        try:
            key = self._key(record)
        except BadData as bad:
            return None if bad.reason == "key:missing" else bad.detail
        seen_s = self._get(key)
        if seen_s is not None and seen_s > self._at_s - self._lifetime_s:
            return f"the same value came {self._at_s - seen_s:.3g} s before"
        self._new = key
        return None

    def note(self, record: Record) -> None:
        """Remember the key of the record that `fault` was last called with, if it was new."""
        del record
        if self._new is not None:
            self._put(self._new, self._at_s)

    def stored(self) -> tuple[Any, ...]:
        at_s = self._at_s
        return self._kept.stored(at_s, lambda seen_s: at_s - seen_s)

    def restore(self, state: Snapshot) -> None:
        self._kept.restore(*state, neg)


class LastValues(Memory):
    """The last good value of each device. A device takes about 200 bytes, up to 800 with a long text."""

    def __init__(self, key: RecordKey, max_keys: int, field: str) -> None:
        super().__init__(key, max_keys, inf)
        self._field = field

    def _is_of_use(self, value: Any) -> bool:
        del value
        return True

    def note(self, record: Record) -> None:
        """Remember the value, which is good. Long texts, lists and objects are not remembered."""
        value = record.get(self._field)
        if type(value) is str:
            if len(value) > MAX_VALUE_CHARS:
                return
        elif type(value) not in (int, float, bool):
            return
        try:
            self._put(self._key(record), value)
        except BadData:
            return

    def value(self, record: Record) -> Any:
        """The last good value of the record's device; None if there is none."""
        try:
            return self._get(self._key(record))
        except BadData:
            return None

    def stored(self) -> tuple[Any, ...]:
        _, newer, older = self._kept.stored(0.0, as_it_is)
        return None, newer, older

    def restore(self, state: Snapshot) -> None:
        _, newer, older = state
        self._kept.restore(None, newer, older, as_it_is)


def encode(wall_s: float, memories: dict[str, "SeenKeys | LastValues"]) -> Iterator[bytes]:
    """The parts of the state of a step with these memories by rule."""
    return parts_of((wall_s, {name: kept.stored() for name, kept in memories.items()}))


def decode(state: bytes) -> tuple[float, dict[str, Snapshot]]:
    """What `encode` was given: the wall clock and the memories by rule. Raises `ValueError`."""
    return msgspec.msgpack.decode(state, type=tuple[float, dict[str, Snapshot]])
