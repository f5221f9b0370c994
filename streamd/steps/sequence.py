from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self

import msgspec
from pydantic import Field, model_validator

from streamd.core.arrival_clock import ArrivalClock
from streamd.core.batch import METADATA_KEYS, Record
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.errors import BadData, ConfigError
from streamd.core.expression import Expression, ExpressionText
from streamd.core.field_names import NewFieldName
from streamd.core.generations import Generations
from streamd.core.now import Now
from streamd.core.number_line import Gap, LineRules, NumberLine, StoredLine
from streamd.core.record_key import Key, KeyTexts, RecordKey
from streamd.core.settings import DurationS, Settings
from streamd.core.state_parts import Items, parts_of
from streamd.core.timers import Timers

_GAP_FIELDS = ("gap_from", "gap_to", "missing")
_MOST_AT_ONCE = 1000
"""Most keys whose missing numbers one tick reports."""
_MAX_INT = 2**63 - 1

_State = tuple[
    Literal["sequence"],
    float,
    float | None,
    dict[Any, StoredLine],
    dict[Any, StoredLine],
    list[tuple[Any, float]],
]
"""The wall clock, the age of the newer generation, the lines of both, and the time left of each timer."""


class Sequence(Step["Sequence.Config"]):
    """Follows a number that each sender counts up, and finds gaps, duplicates and late records.

    All records pass, unless `duplicates = "drop"`. A number is missing if a higher one came and it did not
    come within `wait` or within the next `window` numbers. A number further back than `window`, or further
    ahead than `max_jump`, is far; if the next number follows it, the sender has restarted. With `restart_at`
    a restart is known at once, also within `window`.

    With `gaps`, a record with the key fields, `gap_from`, `gap_to` and `missing` is made for each range of
    missing numbers. If one of them comes later after all, a record with `missing = -1` is made, so the sum of
    `missing` is what was lost.

    If there are `max_keys` keys, records of further keys pass unchecked and are counted. A key without
    records for `forget_after` to twice that time is forgotten. Times that end during a stop of the daemon
    begin anew at the start. A key takes about 500 bytes, up to 900 with a long text and a long window. A
    record costs about 0.4 µs if the last `window` numbers of its key are complete, and 2.5 µs otherwise.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "missing": "numbers that did not come",
        "found": "numbers that came after they were counted as missing",
        "late": "records too late for a window or out of order (sequence), and late keys (expect)",
        "duplicates": "records that repeat an earlier one: an equal key (dedupe) or number (sequence)",
        "far": "records whose number was far from those before: strays, and the first after a restart",
        "restarts": "times that a sender began anew",
        "unchecked": "records that passed unchecked because there were max_keys other keys",
        "forgotten": "keys whose state was forgotten because of max_keys or a long silence",
    }

    class Config(Settings):
        """The number, and what is made of it."""

        number: ExpressionText = Field(description="the number, as an expression: mostly the name of a field")
        key: KeyTexts = Field(
            min_length=1,
            description="expressions, mostly names of fields: what identifies a sender, like the name of a"
            ' device. meta("peer") is its address and port',
        )
        wrap: int | None = Field(
            None,
            ge=4,
            le=2**63,
            description="how many numbers there are, if they begin anew: 65536 if 0 follows 65535",
        )
        restart_at: int | None = Field(
            None,
            ge=-_MAX_INT,
            le=_MAX_INT,
            description="the number with which a sender begins after its restart; when it comes again, the"
            " sender has restarted",
        )
        max_jump: int | None = Field(
            None,
            ge=1,
            description="a number further ahead is far, and no gap. Default: none is",
        )
        window: int = Field(
            64, ge=1, le=1024, description="a record may come late by less than this many numbers"
        )
        wait: DurationS = Field(
            "10s",  # type: ignore[assignment]  # parsed by the validator
            gt=0,
            description="after this time, at most twice of it, a missing number is reported",
        )
        duplicates: Literal["keep", "drop"] = Field(
            "keep", description="keep: duplicates pass; drop: they are filtered out"
        )
        place: NewFieldName | None = Field(
            None,
            description="name of a field that gets the place of the record: first, next, gap (numbers before"
            " it are missing), late, duplicate, far, restart or unchecked. It replaces a field of that"
            " name. Default: no field",
        )
        skipped: NewFieldName | None = Field(
            None,
            description="name of a field that gets the number of numbers directly before the record that had"
            " not come yet. Default: no field",
        )
        gaps: bool = Field(
            False,
            description="make a record for each range of missing numbers, beside the records themselves",
        )
        max_keys: int = Field(100_000, ge=1, le=10_000_000, description="most keys that are checked")
        forget_after: DurationS = Field(
            "1d",  # type: ignore[assignment]  # parsed by the validator
            description="a key without records for this time, at most twice of it, is forgotten",
        )

        @model_validator(mode="after")
        def _check(self) -> Self:
            if self.place is not None and self.place == self.skipped:
                raise ValueError(f"place and skipped are both {self.place!r}")
            if self.forget_after < self.wait:
                raise ValueError("forget_after is shorter than wait")
            if self.wrap is not None:
                if self.window > self.wrap // 2:
                    raise ValueError(f"window is at most half of wrap: {self.wrap // 2}")
                if self.max_jump is not None and self.max_jump >= self.wrap // 2:
                    raise ValueError("max_jump has no effect: a step ahead is at most half of wrap")
                if self.restart_at is not None and not 0 <= self.restart_at < self.wrap:
                    raise ValueError(f"restart_at is none of the numbers 0 to {self.wrap - 1}")
            return self

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        self._key = RecordKey(config.key, context.fields, exact=True)
        for name in self._key.names if config.gaps else ():
            if name in _GAP_FIELDS:
                raise ConfigError(f"{name!r} is a field of the records of gaps", ("key",))
        try:
            self._number = Expression(config.number, context.fields).evaluate
        except ValueError as error:
            raise ConfigError(f"number: {error}", ("number",)) from None
        self._rules = LineRules(config.window, config.wrap, config.max_jump, config.restart_at)
        self._low, self._high = (0, config.wrap - 1) if config.wrap else (-_MAX_INT - 1, _MAX_INT)
        self._clock = ArrivalClock()
        self._lines = Generations[NumberLine](config.max_keys, config.forget_after)
        self._timers = Timers()

    def process(self, records: list[Record], now: Now) -> Processed:
        at_s = self._clock.read(now)
        newer = self._lines.newer
        key_of, number_of, full = self._key.of, self._number, self._rules.full
        low, high = self._low, self._high
        place_field, skipped_field = self.config.place, self.config.skipped
        done = Processed([])
        chosen = done.records
        for record in records:
            try:
                key = key_of(record)
                number = number_of(record)
                if type(number) is not int or not low <= number <= high:
                    raise _no_number(number, low, high)
            except BadData as bad:
                done.rejects.append(BadRecord(record, bad.reason, bad.detail))
                continue
            line = newer.get(key)
            if line is not None and line.seen == full and number == line.highest + 1:
                line.highest = number
                place, skipped = "next", 0
            else:
                gaps: list[Gap] = []
                place, skipped = self._placed(key, number, gaps, at_s)
                for made in self._made(key, gaps):
                    chosen.append({name: record.get(name) for name in METADATA_KEYS} | made)
                    done.emitted += 1
                if place == "duplicate" and self.config.duplicates == "drop":
                    done.filtered += 1
                    continue
            if place_field is not None:
                record[place_field] = place
            if skipped_field is not None:
                record[skipped_field] = skipped
            chosen.append(record)
        self._lines.put(at_s)
        return done

    def _placed(self, key: Key, number: int, gaps: list[Gap], at_s: float) -> tuple[str, int]:
        """Enter a number that is not just the next one; counts its place."""
        newer, older = self._lines.newer, self._lines.older
        line = newer.get(key)
        if line is None:
            if (line := older.pop(key, None)) is None:
                if len(self._lines) >= self.config.max_keys:
                    self.context.counters.add("unchecked")
                    return "unchecked", 0
                newer[key] = NumberLine(number, at_s)
                return "first", 0
            newer[key] = line
        place, skipped = self._rules.see(line, number, gaps)
        if skipped:
            line.gap_at_s = at_s
        self._set_timer(key, line, at_s + self.config.wait)
        if place in _COUNTED:
            self.context.counters.add(_COUNTED[place])
        return place, skipped

    def _set_timer(self, key: Key, line: NumberLine, due_s: float) -> None:
        """Let the timer of the key run while numbers are missing."""
        if not line.pending:
            self._timers.cancel(key)
        elif key not in self._timers:
            self._timers.set(key, due_s)
            line.since_timer = 0

    def _made(self, key: Key, gaps: list[Gap]) -> list[Record]:
        """Count the gaps, and make their records."""
        for gap in gaps:
            if gap.missing > 0:
                self.context.counters.add("missing", gap.missing)
            else:
                self.context.counters.add("found")
        if not gaps or not self.config.gaps:
            return []
        values = self._key.values(key)
        return [values | dict(zip(_GAP_FIELDS, gap, strict=True)) for gap in gaps]

    def tick(self, now: Now) -> Processed:
        at_s = self._clock.read(now)
        done = Processed([])
        for _ in range(_MOST_AT_ONCE):
            if (key := self._timers.pop(at_s)) is None:
                break
            line = self._lines.newer.get(key) or self._lines.older.get(key)
            if line is not None:
                gaps: list[Gap] = []
                due_s = line.gap_at_s + self.config.wait
                newest = min(line.since_timer, self.config.window) if due_s > at_s else 0
                self._rules.give_up(line, gaps, newest)
                done.records += self._made(key, gaps)
                self._set_timer(key, line, due_s)
        else:
            return done
        # A key is forgotten after its timer, because forget_after is not shorter than wait.
        if dropped := self._lines.turn(at_s):
            self.context.counters.add("forgotten", len(dropped))
        return done

    def next_deadline(self) -> float | None:
        due_s = [s for s in (self._timers.first_s(), self._lines.due_s) if s is not None]
        return self._clock.mono_s(min(due_s)) if due_s else None

    def snapshot_parts(self) -> Iterator[bytes]:
        lines, at_s = self._lines, self._clock.at_s
        if lines:
            timers = Items(self._timers.items(), lambda timer: (timer[0], timer[1] - at_s))
            stored = lines.stored(at_s, lambda line: line.stored(at_s))
            yield from parts_of(("sequence", self._clock.wall_s, *stored, timers))

    def restore(self, state: bytes, now: Now) -> None:
        _, wall_s, age_s, newer, older, timers = msgspec.msgpack.decode(state, type=_State)
        passed_s = self._clock.restore(wall_s, now)
        if age_s is not None and age_s + passed_s >= self.config.forget_after:
            age_s = -passed_s
        self._lines.restore(age_s, newer, older, NumberLine.of_stored)
        for key, due_s in timers:
            self._timers.set(key, due_s if due_s > passed_s else passed_s + self.config.wait)

    def fields_after(self) -> frozenset[str] | None:
        if self.context.fields is None:
            return None
        added = {name for name in (self.config.place, self.config.skipped) if name is not None}
        if self.config.gaps:
            added |= {*self._key.names, *_GAP_FIELDS}
        return self.context.fields | added


_COUNTED = {"late": "late", "duplicate": "duplicates", "far": "far", "restart": "restarts"}
"""The counters of places."""


def _no_number(value: Any, low: int, high: int) -> BadData:
    if type(value) is int:
        return BadData("sequence:range", f"the number is not between {low} and {high}")
    return BadData("sequence:type", f"expected a whole number, got {type(value).__name__}")
