from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import msgspec
from pydantic import Field

from streamd.core.arrival_clock import ArrivalClock
from streamd.core.batch import Record
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.errors import BadData
from streamd.core.generations import Generations
from streamd.core.now import Now
from streamd.core.record_key import KeyTexts, RecordKey, same_key
from streamd.core.settings import DurationS, Settings
from streamd.core.state_parts import parts_of

_Interval = tuple[float, int]
"""When the interval of a key began, and how many records have passed in it."""
_Ages = dict[Any, _Interval]
_State = tuple[Literal["throttle"], float, float | None, _Ages, _Ages]
"""The wall clock, the age of the newer generation, and the intervals of both generations with their ages."""


class Throttle(Step["Throttle.Config"]):
    """Lets at most `limit` records of each key pass in each interval, and filters out the others.

    The interval of a key begins with a record that passes, and lasts `per`. The first records of the interval
    pass, so with `limit = 1` two records of a key are at least `per` apart. The clock is the time of
    processing, not a field.

    Beyond `max_keys` the older half of the keys is forgotten and counted (`forgotten`): their intervals end
    early. At least the newest `max_keys / 2` keys are remembered. A key takes about 160 bytes, and up to 330
    if it is long. Keys of more than 128 bytes are compared by a digest of 120 bits.

    A record costs about 0.3 µs with one text as key and 0.15 µs without a key. A record without any
    of the key fields is rejected (`key:missing`).
    """

    counters: ClassVar[Mapping[str, str]] = {
        "throttled": "records filtered out because limit records of their key had passed",
        "forgotten": "keys whose state was forgotten because of max_keys or a long silence",
    }

    class Config(Settings):
        """How many records pass."""

        key: KeyTexts = Field(
            [],
            description="expressions, mostly names of fields; each combination of their values has its own"
            " limit. Default: one limit for all records",
        )
        limit: int = Field(1, ge=1, description="most records that pass in an interval")
        per: DurationS = Field(gt=0, description="length of the interval")
        max_keys: int = Field(100_000, ge=2, le=50_000_000, description="most keys that are remembered")

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        self._key = RecordKey(config.key, context.fields).of if config.key else same_key
        self._clock = ArrivalClock()
        self._intervals = Generations[_Interval](config.max_keys, config.per)

    def process(self, records: list[Record], now: Now) -> Processed:
        at_s = self._clock.read(now)
        intervals, key_of = self._intervals, self._key
        intervals.turn(at_s)
        newer, older, half = intervals.newer, intervals.older, intervals.half
        limit, after_s = self.config.limit, at_s - self.config.per
        forgotten = 0
        done = Processed([])
        chosen, rejects = done.records, done.rejects
        for record in records:
            try:
                key = key_of(record)
            except BadData as bad:
                rejects.append(BadRecord(record, bad.reason, bad.detail))
                continue
            its = newer
            interval = newer.get(key)
            if interval is None:
                its = older
                interval = older.get(key)
            if interval is not None and interval[0] > after_s:
                if interval[1] >= limit:
                    continue
                its[key] = (interval[0], interval[1] + 1)
            else:
                if its is older and len(newer) >= half:
                    forgotten += sum(s > after_s for s, _ in intervals.make_room(at_s).values())
                    newer, older = intervals.newer, intervals.older
                newer[key] = (at_s, 1)
            chosen.append(record)
        intervals.put(at_s)
        done.filtered = len(records) - len(chosen) - len(rejects)
        if done.filtered:
            self.context.counters.add("throttled", done.filtered)
        if forgotten:
            self.context.counters.add("forgotten", forgotten)
        return done

    def snapshot_parts(self) -> Iterator[bytes]:
        intervals, at_s = self._intervals, self._clock.at_s
        if intervals:
            stored = intervals.stored(at_s, lambda began: (at_s - began[0], began[1]))
            yield from parts_of(("throttle", self._clock.wall_s, *stored))

    def restore(self, state: bytes, now: Now) -> None:
        _, wall_s, age_s, newer, older = msgspec.msgpack.decode(state, type=_State)
        self._clock.restore(wall_s, now)
        self._intervals.restore(age_s, newer, older, lambda stored: (-stored[0], stored[1]))

    def fields_after(self) -> frozenset[str] | None:
        return self.context.fields
