from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import compress
from math import inf
from operator import neg
from typing import Any, ClassVar, Literal

import msgspec
from pydantic import Field

from streamd.core.arrival_clock import ArrivalClock
from streamd.core.batch import Record
from streamd.core.columns import FlatColumns
from streamd.core.contracts import Processed, Step, StepContext
from streamd.core.generations import Generations
from streamd.core.keyed import keyed
from streamd.core.now import Now
from streamd.core.record_key import Key, KeyTexts, RecordKey, key_of_whole, keys_of_whole, plain_names
from streamd.core.settings import DurationS, Settings
from streamd.core.state_parts import parts_of

_State = tuple[Literal["dedupe"], float, float | None, dict[Any, float], dict[Any, float]]
"""The wall clock, the age of the newer generation, and the age of each key in both generations."""


class Dedupe(Step["Dedupe.Config"]):
    """Filters out a record if an equal one has passed within a time.

    Records are equal if the fields of `key` are equal, or all fields without the metadata. The first record
    passes. The time counts from that record, so of a value that repeats for ever one record passes in each
    `within`. The clock is the time of processing, not a field.

    Beyond `max_keys` the older half of the keys is forgotten and counted (`forgotten`): records that equal
    them pass again. At least the newest `max_keys / 2` keys are remembered. A key takes about 100 bytes, up
    to 270 if it is long. Keys of more than 128 bytes are compared by a digest of 120 bits.

    A record costs about 0.5 µs with one text or two fields as key, and 1.4 µs as a whole. A record
    without any of the key fields is rejected (`key:missing`).
    """

    counters: ClassVar[Mapping[str, str]] = {
        "duplicates": "records that repeat an earlier one: an equal key (dedupe) or number (sequence)",
        "forgotten": "keys whose state was forgotten because of max_keys or a long silence",
    }

    class Config(Settings):
        """Which records are equal, and for how long."""

        key: KeyTexts = Field(
            [],
            description="expressions, mostly names of fields; records are equal if all these values are."
            " Default: all fields",
        )
        within: DurationS = Field(gt=0, description="for how long an equal record is filtered out")
        max_keys: int = Field(100_000, ge=2, le=50_000_000, description="most keys that are remembered")

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        self._key = RecordKey(config.key, context.fields) if config.key else None
        self._key_of = key_of_whole if self._key is None else self._key.of
        self._key_columns = plain_names(config.key)
        self.reads_columns = not config.key or bool(self._key_columns)
        self._clock = ArrivalClock()
        self._seen = Generations[float](config.max_keys, config.within)

    def process(self, records: list[Record], now: Now) -> Processed:
        done = Processed([])
        keys, with_key = keyed(self._key_of, records, done)
        done.records = list(compress(with_key, self._are_new(keys, now)))
        done.filtered = len(with_key) - len(done.records)
        return done

    def process_columns(self, columns: FlatColumns, now: Now) -> Processed:
        keys: Sequence[Key] | None
        if self._key is None:
            keys = keys_of_whole(columns)
        else:
            keys = self._key.of_columns(list(map(columns.column, self._key_columns)))
        if keys is None:
            return self.process(columns.records(), now)
        chosen = columns.chosen(self._are_new(keys, now))
        return Processed([], filtered=len(columns) - len(chosen), columns=chosen)

    def _are_new(self, keys: Sequence[Key], now: Now) -> list[bool]:
        """Whether no record with the same key has passed within the time. Remembers and counts them."""
        at_s = self._clock.read(now)
        seen = self._seen
        seen.turn(at_s)
        newer, older, half = seen.newer, seen.older, seen.half
        after_s = at_s - self.config.within
        if len(newer) + len(keys) <= half and seen.add_new(keys, at_s):
            seen.put(at_s)
            return [True] * len(keys)
        forgotten = 0
        are_new: list[bool] = []
        add = are_new.append
        for key in keys:
            passed_s = newer.get(key)
            if (older.get(key, -inf) if passed_s is None else passed_s) > after_s:
                add(False)
                continue
            if passed_s is None and len(newer) >= half:
                forgotten += _later(seen.make_room(at_s).values(), after_s)
                newer, older = seen.newer, seen.older
            newer[key] = at_s
            add(True)
        seen.put(at_s)
        if duplicates := are_new.count(False):
            self.context.counters.add("duplicates", duplicates)
        if forgotten:
            self.context.counters.add("forgotten", forgotten)
        return are_new

    def snapshot_parts(self) -> Iterator[bytes]:
        seen, at_s = self._seen, self._clock.at_s
        if seen:
            ages = seen.stored(at_s, lambda seen_s: at_s - seen_s)
            yield from parts_of(("dedupe", self._clock.wall_s, *ages))

    def restore(self, state: bytes, now: Now) -> None:
        _, wall_s, age_s, newer, older = msgspec.msgpack.decode(state, type=_State)
        self._clock.restore(wall_s, now)
        self._seen.restore(age_s, newer, older, neg)

    def fields_after(self) -> frozenset[str] | None:
        return self.context.fields


def _later(times_s: Collection[float], than_s: float) -> int:
    """How many times are later; all of them in a busy stream."""
    if times_s and min(times_s) > than_s:
        return len(times_s)
    return sum(time_s > than_s for time_s in times_s)
