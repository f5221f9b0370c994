"""Steps of somebody else's package: small users of time, state and holds."""

import json
from collections import Counter

from pydantic import Field

from streamd.core.batch import Record
from streamd.core.contracts import BadRecord, Processed, Step
from streamd.core.errors import BadData
from streamd.core.hold import Hold
from streamd.core.now import Now
from streamd.core.settings import DurationS, Settings


class Count(Step["Count.Config"]):
    """Numbers the records of each value of a field."""

    class Config(Settings):
        """What the configuration may say of it."""

        by: str = Field(description="the field")
        start: int = Field(0, description="the number before the first")

    def open(self) -> None:
        self.seen: Counter[str] = Counter()

    def process_one(self, record: Record, now: Now) -> Record:
        if self.config.by not in record:
            raise BadData("count:no_field", self.config.by)
        key = str(record[self.config.by])
        self.seen[key] += 1
        return record | {"n": self.config.start + self.seen[key]}

    def snapshot(self) -> bytes:
        return json.dumps({"seen": self.seen}).encode()

    def restore(self, state: bytes, now: Now) -> None:
        del now
        self.seen = Counter(json.loads(state)["seen"])


class Totals(Step["Totals.Config"]):
    """Hands on, each second or so, how many records of each key there were so far, and their sum."""

    class Config(Settings):
        """What the configuration may say of it."""

        by: str = Field(description="the field")
        sum_of: str = Field(description="the field that is summed up")
        every: DurationS = Field("1s", description="time between two")  # type: ignore[assignment]

    def open(self) -> None:
        self.totals: dict[str, list[int]] = {}
        self.changed: set[str] = set()
        self.due: float | None = None
        self.due_wall_s = 0.0

    def process(self, records: list[Record], now: Now) -> Processed:
        done = Processed([])
        for record in records:
            key, value = record.get(self.config.by), record.get(self.config.sum_of)
            if key is None or not isinstance(value, int):
                done.rejects.append(BadRecord(record, "totals:no_number"))
                continue
            total = self.totals.setdefault(str(key), [0, 0])
            total[0] += 1
            total[1] += value
            self.changed.add(str(key))
            done.absorbed += 1
        if self.due is None and self.changed:
            self.due, self.due_wall_s = now.mono_s + self.config.every, now.wall_s + self.config.every
        return done

    def next_deadline(self) -> float | None:
        return self.due

    def tick(self, now: Now) -> Processed:
        changed, self.changed, self.due = self.changed, set(), None
        return Processed(
            [{self.config.by: k, "n": self.totals[k][0], "total": self.totals[k][1]} for k in sorted(changed)]
        )

    def snapshot(self) -> bytes:
        return json.dumps([self.totals, sorted(self.changed), self.due_wall_s]).encode()

    def restore(self, state: bytes, now: Now) -> None:
        self.totals, changed, self.due_wall_s = json.loads(state)
        self.changed = set(changed)
        self.due = now.mono_s + self.due_wall_s - now.wall_s if changed else None


class Delay(Step["Delay.Config"]):
    """Keeps records for a while. What it keeps is not in a state, so the source may not forget it."""

    class Config(Settings):
        """What the configuration may say of it."""

        by: DurationS = Field("1s", description="how long")  # type: ignore[assignment]

    def open(self) -> None:
        self.kept: list[Record] = []
        self.holds: list[Hold] = []
        self.due: float | None = None

    def process(self, records: list[Record], now: Now) -> Processed:
        self.kept += records
        if (hold := self.context.hold()) is not None:
            self.holds.append(hold)
        self.due = self.due or now.mono_s + self.config.by
        return Processed([], absorbed=len(records))

    def next_deadline(self) -> float | None:
        return self.due

    def tick(self, now: Now) -> Processed:
        kept, holds = self.kept, self.holds
        self.kept, self.holds, self.due = [], [], None
        return Processed(kept, holds=holds)
