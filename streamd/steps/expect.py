from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self

import msgspec
from pydantic import Field, model_validator

from streamd.core.arrival_clock import ArrivalClock
from streamd.core.batch import METADATA_KEYS, Record
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.errors import BadData, ConfigError
from streamd.core.now import Now
from streamd.core.plural import counted
from streamd.core.record_key import Key, KeyTexts, RecordKey
from streamd.core.settings import DurationS, Settings
from streamd.core.state_parts import Entries, parts_of
from streamd.core.timers import Timers
from streamd.core.timestamp import from_epoch

_FIELDS = ("expect", "last_seen", "silent_s")
_MOST_AT_ONCE = 1000
"""Most timers that one tick handles."""
_PUT_OFF_S = 0.25
"""Time between two looks at the buffers while reports are put off."""
_SILENT_AFTER = 3
"""Default of `silent_after`, in `every`."""

_Phase = Literal["here", "late", "silent"]
_State = tuple[Literal["expect"], dict[Any, tuple[float | None, _Phase]]]
"""The wall clock at the last record of each key, and its phase."""
_Value = str | int | float | bool


class _Watch:
    """What is known of a key."""

    __slots__ = ("phase", "seen")

    def __init__(self, seen: tuple[float, float | None], phase: _Phase = "here") -> None:
        self.seen = seen
        """The time from which its silence counts, and the wall clock at its last record."""
        self.phase: _Phase = phase


class Expect(Step["Expect.Config"]):
    """Reports keys that send no records: as late after `every`, as silent after `silent_after`.

    All records pass. For a key that changes, a record is made with the key fields and `expect`: `new` (its
    first record, unless it is in `keys`), `late`, `silent` or `back` (a record after `late` or `silent`).
    `last_seen` is the time of its last record before that, `silent_s` the seconds since then; both are null
    if there was none. A key in `keys` that never sends is late and silent too.

    The clock is the time of processing, not a field. While frames wait in the buffers of the sources, reports
    are put off, for at most `every`. After a restart all waiting times begin anew, because
    the senders could not reach the daemon; what was reported is not reported again.

    If there are `max_keys` keys, records of further keys pass unwatched and are counted. A key takes about
    450 bytes, up to 600 if it is long. A record costs about 0.3 µs.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "late": "records too late for a window or out of order (sequence), and late keys (expect)",
        "silent": "times that a key was reported as silent",
        "back": "times that a key was reported as back",
        "new": "keys reported as new",
        "unexpected": "records of keys that are not in keys and are not learned",
        "unwatched": "records of keys that were not learned because there were max_keys",
        "forgotten": "keys whose state was forgotten because of max_keys or a long silence",
    }

    class Config(Settings):
        """Which keys have to send, and how often."""

        key: KeyTexts = Field(
            min_length=1,
            description="expressions, mostly names of fields: what identifies a sender, like the name of a"
            " device",
        )
        every: DurationS = Field(gt=0, description="a key without a record for this time is late")
        silent_after: DurationS | None = Field(
            None, description="a key without a record for this time is silent. Default: three times every"
        )
        keys: list[_Value | list[_Value]] = Field(
            [],
            description="the keys that have to send from the start; with several key fields, each is a list"
            " of their values",
        )
        learn: bool | None = Field(
            None,
            description="whether keys that are not in keys are watched from their first record on. Default:"
            " true without keys, false with keys",
        )
        forget_after: DurationS | None = Field(
            None,
            description="a learned key without a record for this time is forgotten; it is new when it comes"
            " again. Default: never",
        )
        max_keys: int = Field(100_000, ge=1, le=10_000_000, description="most keys that are watched")

        @property
        def learns(self) -> bool:
            """Whether unknown keys are learned."""
            return not self.keys if self.learn is None else self.learn

        @property
        def silent_after_s(self) -> float:
            """The time after which a key is silent."""
            return _SILENT_AFTER * self.every if self.silent_after is None else self.silent_after

        @model_validator(mode="after")
        def _check(self) -> Self:
            if not self.keys and not self.learns:
                raise ValueError("without keys and without learn there is nothing to expect")
            if self.silent_after_s <= self.every:
                raise ValueError("silent_after is not longer than every")
            if self.forget_after is not None:
                if not self.learns:
                    raise ValueError("forget_after has no effect: only learned keys are forgotten")
                if self.forget_after <= self.silent_after_s:
                    raise ValueError("forget_after is not longer than silent_after")
            if len(self.keys) > self.max_keys:
                raise ValueError(f"there are {len(self.keys)} keys, more than max_keys")
            return self

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        self._key = RecordKey(config.key, context.fields, exact=True)
        for name in self._key.names:
            if name in _FIELDS:
                raise ConfigError(f"{name!r} is a field of the records that expect makes", ("key",))
        self._listed = self._keys(config)
        self._watches: dict[Key, _Watch] = {}
        self._timers = Timers()
        self._clock = ArrivalClock()
        self._has_begun = not self._listed
        """Whether the listed keys are watched; that begins with the first reading of the clock."""
        self._put_off_s: float | None = None
        """Since when reports are put off; None if they are not."""
        self._next_look_s = 0.0

    def _keys(self, config: Config) -> dict[Key, None]:
        found: dict[Key, None] = {}
        for index, one in enumerate(config.keys):
            values = one if isinstance(one, list) else [one]
            place = ("keys", index)
            if len(values) != len(config.key):
                raise ConfigError(
                    f"{one!r}: a list of {counted(len(config.key), 'value')} is needed, as in key", place
                )
            try:
                key = self._key.of_values(values)
            except BadData as bad:
                raise ConfigError(str(bad), place) from None
            if key in found:
                raise ConfigError(f"{one!r} is there twice", place)
            found[key] = None
        return found

    def process(self, records: list[Record], now: Now) -> Processed:
        at_s = self._clock.read(now)
        if not self._has_begun:
            self._begin(at_s)
        seen = (at_s, now.wall_s)
        watches, key_of = self._watches, self._key.of
        done = Processed([])
        chosen = done.records
        for record in records:
            try:
                key = key_of(record)
            except BadData as bad:
                done.rejects.append(BadRecord(record, bad.reason, bad.detail))
                continue
            watch = watches.get(key)
            if watch is not None and watch.phase == "here":
                watch.seen = seen
            elif (made := self._came(key, watch, seen)) is not None:
                chosen.append({name: record.get(name) for name in METADATA_KEYS} | made)
                done.emitted += 1
            chosen.append(record)
        return done

    def _came(self, key: Key, watch: _Watch | None, seen: tuple[float, float]) -> Record | None:
        """The record for a key that is new or back; None if an unknown key is not learned."""
        if watch is not None:
            made = self._made("back", key, watch.seen[1], seen[1])
            watch.phase, watch.seen = "here", seen
        elif not self.config.learns:
            self.context.counters.add("unexpected")
            return None
        elif len(self._watches) >= self.config.max_keys:
            self.context.counters.add("unwatched")
            return None
        else:
            made = self._made("new", key, None, seen[1])
            self._watches[key] = _Watch(seen)
        self._timers.set(key, seen[0] + self.config.every)
        return made

    def _begin(self, at_s: float) -> None:
        self._has_begun = True
        for key in self._listed:
            if key not in self._watches:
                self._watches[key] = _Watch((at_s, None))
                self._timers.set(key, at_s + self.config.every)

    def _made(self, state: str, key: Key, seen_wall_s: float | None, wall_s: float) -> Record:
        """Count a change, and make its record."""
        self.context.counters.add(state)
        made = self._key.values(key) | {"expect": state}
        if seen_wall_s is None:
            return made | {"last_seen": None, "silent_s": None}
        silent_s = round(max(0.0, wall_s - seen_wall_s), 3)
        return made | {"last_seen": from_epoch(seen_wall_s), "silent_s": silent_s}

    def tick(self, now: Now) -> Processed:
        at_s = self._clock.read(now)
        if not self._has_begun:
            self._begin(at_s)
        done = Processed([])
        if self._puts_off(at_s):
            return done
        for _ in range(_MOST_AT_ONCE):
            if (key := self._timers.pop(at_s)) is None:
                break
            watch = self._watches[key]
            due_s = self._due_s(key, watch)
            if due_s is not None and at_s >= due_s:
                if watch.phase == "silent":
                    del self._watches[key]
                    self.context.counters.add("forgotten")
                    continue
                watch.phase = "late" if watch.phase == "here" else "silent"
                done.records.append(self._made(watch.phase, key, watch.seen[1], now.wall_s))
                due_s = self._due_s(key, watch)
            if due_s is not None:
                self._timers.set(key, due_s)
        return done

    def _puts_off(self, at_s: float) -> bool:
        """Whether reports wait because records of the keys may wait in the buffers of the sources."""
        if not self.context.upstream.waiting():
            self._put_off_s = None
            return False
        if self._put_off_s is None or at_s > self._next_look_s + _PUT_OFF_S:  # another time than the last
            self._put_off_s = at_s
        self._next_look_s = at_s + _PUT_OFF_S
        return at_s - self._put_off_s < self.config.every

    def _due_s(self, key: Key, watch: _Watch) -> float | None:
        """When the phase of a key without further records changes; None if it stays."""
        since_s = watch.seen[0]
        match watch.phase:
            case "here":
                return since_s + self.config.every
            case "late":
                return since_s + self.config.silent_after_s
        is_kept = self.config.forget_after is None or key in self._listed
        return None if is_kept else since_s + (self.config.forget_after or 0.0)

    def next_deadline(self) -> float | None:
        if not self._has_begun:
            return 0.0
        first_s = self._timers.first_s()
        return None if first_s is None else self._clock.mono_s(max(first_s, self._next_look_s))

    def snapshot_parts(self) -> Iterator[bytes]:
        if self._watches:
            watches = Entries(self._watches, lambda watch: (watch.seen[1], watch.phase))
            yield from parts_of(("expect", watches))

    def restore(self, state: bytes, now: Now) -> None:
        _, watches = msgspec.msgpack.decode(state, type=_State)
        at_s = self._clock.read(now)
        for key, (wall_s, phase) in watches.items():
            watch = self._watches[key] = _Watch((at_s, wall_s), phase)
            if (due_s := self._due_s(key, watch)) is not None:
                self._timers.set(key, due_s)
        self._begin(at_s)

    def fields_after(self) -> frozenset[str] | None:
        known = self.context.fields
        return None if known is None else known | {*self._key.names, *_FIELDS}
