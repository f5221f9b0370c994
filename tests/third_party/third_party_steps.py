"""Steps of somebody else's package: small users of time, state and holds."""

import json
from collections import Counter

from pydantic import Field

from streamd.core.batch import Record
from streamd.core.contracts import Processed, Step
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
        self.seen[record[self.config.by]] += 1
        return record | {"n": self.config.start + self.seen[record[self.config.by]]}

    def snapshot(self) -> bytes:
        return json.dumps(self.seen).encode()

    def restore(self, state: bytes, now: Now) -> None:
        del now
        self.seen = Counter(json.loads(state))


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

    def process(self, records: list[Record], now: Now) -> Processed:
        for record in records:
            total = self.totals.setdefault(record[self.config.by], [0, 0])
            total[0] += 1
            total[1] += record[self.config.sum_of]
            self.changed.add(record[self.config.by])
        self.due = self.due or now.mono_s + self.config.every
        return Processed([], absorbed=len(records))

    def process_one(self, record: Record, now: Now) -> Record:
        raise NotImplementedError

    def next_deadline(self) -> float | None:
        return self.due

    def tick(self, now: Now) -> Processed:
        changed, self.changed, self.due = self.changed, set(), None
        return Processed(
            [{self.config.by: k, "n": self.totals[k][0], "total": self.totals[k][1]} for k in sorted(changed)]
        )

    def snapshot(self) -> bytes:
        return json.dumps([self.totals, sorted(self.changed)]).encode()

    def restore(self, state: bytes, now: Now) -> None:
        self.totals, changed = json.loads(state)
        self.changed = set(changed)
        self.due = now.mono_s + self.config.every if changed else None


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

    def process_one(self, record: Record, now: Now) -> Record:
        raise NotImplementedError

    def next_deadline(self) -> float | None:
        return self.due

    def tick(self, now: Now) -> Processed:
        kept, holds = self.kept, self.holds
        self.kept, self.holds, self.due = [], [], None
        return Processed(kept, holds=holds)
