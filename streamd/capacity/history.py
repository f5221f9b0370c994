"""Loads, and what is known of the speed, from the rows of a ledger."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from streamd.capacity.configured import Costs, Load, lines_of
from streamd.capacity.figures import Figures
from streamd.config.tables import Config
from streamd.core.listed import listed

SQL = """
SELECT
  at,
  strftime('%s', at) + 0.0 + substr(at, 20, 7) AS at_wall_s,
  max(interval_s),
  source,
  coalesce(sum(n) FILTER (WHERE counter IN ('received', 'kernel_dropped')), 0),
  coalesce(sum(n) FILTER (WHERE counter IN ('decoded', 'rejected')
    AND pipeline = ''), 0),
  coalesce(sum(n) FILTER (WHERE counter = 'dropped' AND reason = 'buffer_full'), 0),
  coalesce(sum(n) FILTER (WHERE counter = 'in'), 0)
FROM ledger
WHERE source <> '' AND source NOT LIKE '@%' AND at >= ? AND interval_s > 0
  AND run_id NOT IN (SELECT run_id FROM ledger WHERE counter = 'start' AND reason = 'replay')
GROUP BY at, source
ORDER BY at
"""
"""The rows for `intervals_of`: each interval and source since a time, without replays of dead letters."""


class Interval(NamedTuple):
    """One source in one interval of the ledger."""

    at_s: float
    """Seconds since the first interval."""
    seconds: float
    source: str
    arrived: int
    taken: int
    """Frames that left the source's buffer."""
    lost: int
    """Frames and records that full buffers lost."""
    records: int


def intervals_of(rows: Iterable[tuple[str, float, float, str, int, int, int, int]]) -> list[Interval]:
    """The intervals in rows of `SQL`."""
    found = [Interval(*row[1:]) for row in rows]
    begins = sorted({one.at_s for one in found})
    room_s = {begin: end - begin for begin, end in itertools.pairwise(begins)}  # a minute cuts an interval
    return [
        one._replace(at_s=one.at_s - begins[0], seconds=min(one.seconds, room_s.get(one.at_s, one.seconds)))
        for one in found
    ]


def length_s(intervals: Iterable[Interval]) -> float:
    """Seconds from the first interval to the end of the last."""
    return max((one.at_s + one.seconds for one in intervals), default=0.0)


def loads_of(intervals: Iterable[Interval]) -> dict[str, Load]:
    """The arrivals of each source. Between two intervals without a row nothing arrived."""
    found: dict[str, Load] = defaultdict(list)
    now_s: dict[str, float] = defaultdict(float)
    for one in intervals:
        gap_s = one.at_s - now_s[one.source]
        if gap_s > 0:
            found[one.source].append((gap_s, 0.0))
        found[one.source].append((one.seconds, one.arrived / one.seconds))
        now_s[one.source] = one.at_s + one.seconds
    for load in found.values():
        load.append((1.0, 0.0))
    return dict(found)


def figures_of(intervals: list[Interval], config: Config, frame_bytes: float | None) -> Figures:
    """Figures whose loads and speed are those of the history.

    The busiest interval shows what the daemon can do at least; if full buffers lost frames in it, that is the
    capacity.
    """
    assumed: list[str] = []

    def costs(names: list[str], sources: list[str]) -> Costs | None:
        taken, lost = _sums(intervals, sources)
        if not taken:
            return None
        busiest = max(taken, key=lambda at: taken[at])
        best, full = taken[busiest], bool(lost.get(busiest))
        if best <= 0:
            return None
        frames = sum(one.taken for one in intervals if one.source in sources)
        records = sum(one.records for one in intervals if one.source in sources)
        assumed.append(
            f"workers and sinks of {listed(names)}: "
            + (
                f"{best:,.0f} frames/s, the most that left in an interval: full buffers lost some in it"
                if full
                else f"at least {best:,.0f} frames/s, because the busiest interval lost none"
            )
        )
        return Costs(1 / best, float("inf"), not full, records / frames / len(names) if frames else 1.0)

    lines = lines_of(config, loads_of(intervals), costs, frame_bytes)
    return Figures(lines=lines, read_s=0.0, assumed=tuple(assumed))


def _sums(
    intervals: Iterable[Interval], sources: list[str]
) -> tuple[Mapping[float, float], Mapping[float, int]]:
    """What a group of sources took each second of each interval, and lost in it."""
    taken: dict[float, float] = defaultdict(float)
    lost: dict[float, int] = defaultdict(int)
    for one in intervals:
        if one.source in sources:
            taken[one.at_s] += one.taken / one.seconds
            lost[one.at_s] += one.lost
    return taken, lost
