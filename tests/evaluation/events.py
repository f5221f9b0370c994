"""How flags are judged by labels: events that were found, and false alarms. There is no point adjustment.

The records of one key, in order:

- An **event** is a longest run of labelled records.
- An event is **found** if at least one of its own records is flagged. A flag before its first or after its
  last record does not count for it. Its **delay** is the number of records from its first one to the first
  flagged one.
- A **false alarm** begins with a flagged record that is not labelled. Further flagged records without a label
  belong to it if they come less than `span` records after its beginning; the next one begins another. So a
  flag that is always on is an alarm for each `span`, and an alarm that begins before an event and goes on
  into it is a false alarm, although the event is found too.

Other labelled records of an event that was found are not counted as flagged (that would be point adjustment),
and an event counts once, however often it is flagged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

DAY_S = 86400.0


def runs(labels: Sequence[bool]) -> list[range]:
    """The events: the places of each longest run of labelled records."""
    found: list[range] = []
    start = None
    for place, label in enumerate((*labels, False)):
        if label and start is None:
            start = place
        elif not label and start is not None:
            found.append(range(start, place))
            start = None
    return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """The counts of one key, or of several."""

    events: int = 0
    delays: tuple[int, ...] = field(default=())
    """Of each event that was found, in records."""
    false_alarms: int = 0
    flagged: int = 0
    records: int = 0
    normal: int = 0
    """Records without a label."""

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(
            self.events + other.events, self.delays + other.delays,
            self.false_alarms + other.false_alarms, self.flagged + other.flagged,
            self.records + other.records, self.normal + other.normal,
        )  # fmt: skip

    @property
    def found(self) -> int:
        return len(self.delays)

    @property
    def recall(self) -> float | None:
        """The share of the events that were found; None if there are none."""
        return self.found / self.events if self.events else None

    @property
    def precision(self) -> float | None:
        """Events found, of these and the false alarms; None if there was no alarm."""
        alarms = self.found + self.false_alarms
        return self.found / alarms if alarms else None

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 if nothing was found."""
        return 2 * self.found / (self.found + self.events + self.false_alarms) if self.found else 0.0

    @property
    def rate(self) -> float:
        """The share of the records that were flagged."""
        return self.flagged / self.records if self.records else 0.0

    def false_alarms_a_day(self, step_s: float) -> float:
        """For each key, and for each day without an event; `step_s` is the time between two records."""
        return self.false_alarms * DAY_S / (self.normal * step_s) if self.normal else 0.0

    def delay_s(self, step_s: float) -> float | None:
        """The median delay; None if no event was found."""
        return median(self.delays) * step_s if self.delays else None


def judge(labels: Sequence[bool], flags: Sequence[bool], span: int) -> Outcome:
    """Hold the flags of one key against its labels. `span` is in records."""
    flagged = [place for place, flag in zip(range(len(labels)), flags, strict=True) if flag]
    delays = []
    events = runs(labels)
    for event in events:
        first = next((place for place in event if flags[place]), None)
        if first is not None:
            delays.append(first - event.start)
    false_alarms = until = 0
    for place in flagged:
        if not labels[place] and place >= until:
            false_alarms += 1
            until = place + span
    normal = len(labels) - sum(map(len, events))
    return Outcome(len(events), tuple(delays), false_alarms, len(flagged), len(labels), normal)
