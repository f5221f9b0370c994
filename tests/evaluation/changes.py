"""How reported changes of a level are judged by the change points that people have marked.

Several people have marked each series, and do not agree. As van den Burg and Williams ("An evaluation of
change point detection algorithms", 2020) do:

- A point is **found** if a change is reported at it or at most `within` records after it, and before the next
  point of the same person. One report finds one point. The **delay** goes from the point to the report.
- **Recall** is the mean over the people of the share of their points that were found. A person without points
  does not count.
- A report is **right** if it finds a point of anybody. Each other report is a **false alarm**, also a second
  one for the same point. **Precision** is the share of the right ones.

They also accept reports up to five records before a point. A detector on a stream cannot know a change before
it, so such a report is a false alarm here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median


@dataclass(frozen=True, slots=True)
class Found:
    """The counts of one series, or of several."""

    shares: tuple[float, ...] = field(default=())
    """By person and series: the share of the points that were found."""
    points: int = 0
    """Of all persons."""
    reports: int = 0
    right: int = 0
    delays: tuple[int, ...] = field(default=())
    """For each point that was found, in records."""
    records: int = 0

    def __add__(self, other: "Found") -> "Found":
        return Found(
            self.shares + other.shares, self.points + other.points, self.reports + other.reports,
            self.right + other.right, self.delays + other.delays, self.records + other.records,
        )  # fmt: skip

    @property
    def events(self) -> int:
        return self.points

    @property
    def false_alarms(self) -> int:
        return self.reports - self.right

    @property
    def recall(self) -> float | None:
        """None if nobody has marked a point."""
        return mean(self.shares) if self.shares else None

    @property
    def precision(self) -> float | None:
        """None without a report."""
        return self.right / self.reports if self.reports else None

    @property
    def f1(self) -> float:
        recall, precision = self.recall or 0.0, self.precision or 0.0
        return 2 * recall * precision / (recall + precision) if recall and precision else 0.0

    @property
    def delay(self) -> float | None:
        """The median, in records; None if no point was found."""
        return median(self.delays) if self.delays else None


def matched(points: Sequence[int], reports: Sequence[int], within: int) -> dict[int, int]:
    """The first report for each point that has one."""
    ordered = sorted(points)
    found = {}
    for point, following in zip(ordered, [*ordered[1:], None], strict=False):
        end = point + within if following is None else min(point + within, following - 1)
        first = next((report for report in sorted(reports) if point <= report <= end), None)
        if first is not None:
            found[point] = first
    return found


def judge_changes(
    marked: Mapping[str, Iterable[int]], reports: Sequence[int], part: range, within: int
) -> Found:
    """Hold the reports in a part of a series against the points in it."""
    told = [report for report in reports if report in part]
    shares, delays, right, count = [], [], set(), 0
    for points in marked.values():
        own = [point for point in points if point in part]
        if own:
            found = matched(own, told, within)
            shares.append(len(found) / len(own))
            delays += [report - point for point, report in found.items()]
            right |= set(found.values())
            count += len(own)
    return Found(tuple(shares), count, len(told), len(right), tuple(delays), len(part))
