"""Windows compared with a brute force that keeps every row: what `windows/windows.py`, `windows/panes.py`,
`windows/timelines.py`, `windows/aggregates.py`, `windows/exact.py` and `windows/rows.py` do together.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamd.core.contracts import Step, StepContext
from streamd.core.now import Now
from streamd.core.timestamp import canonical
from streamd.steps.window import Window

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NOW = Now(2_000.0, 5.0)
AGGREGATES = {
    "n": "count()", "valued": "count(v)", "sum": "sum(v)", "mean": "mean(v)", "min": "min(v)",
    "max": "max(v)", "stddev": "stddev(v)", "first": "first(v)", "last": "last(v)", "delta": "delta(v)",
    "rate": "rate(v)",
}  # fmt: skip
Row = dict[str, Any]


def new(**options: Any) -> Step[Any]:
    options = {"key": ["k"], "time": "t", "watermark_delay": "5s"} | options
    options = {"idle_timeout": "30s", "aggregate": AGGREGATES} | options
    step = Window(Window.Config(**options), StepContext("window[0]", "p", None, Path()))
    step.open()
    return step


def of(rows: list[tuple[int, int, Any]]) -> dict[str, Any]:
    """What SQL says of rows (place, time, value)."""
    timed = sorted(((at, place, v) for place, at, v in rows if v is not None), key=lambda row: row[:2])
    values = [v for _, _, v in timed]
    increase = sum(b - a if b >= a else b for a, b in pairwise(values)) if len(values) > 1 else None
    seconds = (timed[-1][0] - timed[0][0]) if timed else 0
    last = max((row[0] for row in timed), default=None)
    return {
        "n": len(rows),
        "valued": len(values),
        "sum": sum(values) if values else None,
        "mean": statistics.fmean(values) if values else None,
        "min": min(values, default=None),
        "max": max(values, default=None),
        "stddev": statistics.stdev(values) if len(values) > 1 else None,
        "first": values[0] if values else None,
        "last": [v for at, _, v in timed if at == last][-1] if values else None,
        "delta": increase,
        "rate": increase / seconds if increase is not None and seconds else None,
    }


class Brute:
    """Windows of whole seconds, from rows kept for ever; one watermark for each key."""

    def __init__(self, size: int, slide: int, delay: int) -> None:
        self.size, self.slide, self.delay = size, slide, delay
        self.rows: dict[Any, list[tuple[int, int, Any]]] = defaultdict(list)
        self.watermark: dict[Any, int] = {}
        self.results: list[Row] = []
        self.late: list[int] = []

    def windows_of(self, at: int) -> list[int]:
        last = at // self.slide * self.slide
        return [
            start for start in range(last, last - self.size, -self.slide) if start <= at < start + self.size
        ]

    def add(self, place: int, row: Row) -> None:
        name, at = row["k"], row["t"]
        watermark = self.watermark.get(name, -(10**9))
        open_ = [start for start in self.windows_of(at) if start + self.size > watermark]
        if not open_:
            self.late.append(place)
            return
        for start in open_:
            self.rows[name, start].append((place, at, row["v"]))
        self.watermark[name] = max(watermark, at - self.delay)
        self.close(name, self.watermark[name])

    def close(self, name: Any, watermark: int) -> None:
        for one in sorted(one for one in self.rows if one[0] == name):
            if one[1] + self.size <= watermark:
                self.results.append({"k": name, "start": one[1]} | of(self.rows.pop(one)))

    def end(self) -> None:
        for name in dict.fromkeys(name for name, _ in self.rows):
            self.close(name, 10**12)


def starts(records: list[Row]) -> list[Row]:
    found = []
    for record in records:
        row = {name: value for name, value in record.items() if name in AGGREGATES or name == "k"}
        found.append(row | {"start": record["window_start"]})
    return found


def same(made: Any, wanted: Any) -> bool:
    if isinstance(made, float) or isinstance(wanted, float):
        return (
            made is not None and wanted is not None and math.isclose(made, wanted, rel_tol=1e-9, abs_tol=1e-7)
        )
    return bool(made == wanted)


def key(row: Row) -> Any:
    return row["k"], row["start"]


def assert_same(made: list[Row], wanted: list[Row]) -> None:
    made = starts(made)
    wanted = [{**row, "start": canonical(row["start"])} for row in wanted]
    made, wanted = sorted(made, key=key), sorted(wanted, key=key)
    assert [key(row) for row in made] == [key(row) for row in wanted]
    for one, other in zip(made, wanted, strict=True):
        assert one.keys() == other.keys()
        assert not [name for name in one if not same(one[name], other[name])], (one, other)


VALUES = st.none() | st.integers(-5, 50) | st.floats(-1e3, 1e3, allow_nan=False)
ROWS = st.lists(
    st.fixed_dictionaries({"k": st.sampled_from("abc"), "t": st.integers(-100, 200), "v": VALUES}),
    max_size=120,
)
AS_WRITTEN: list[Callable[[int], Any]] = [
    lambda at: at,
    float,
    canonical,
    lambda at: f"{canonical(at)[:19]}+00:00",
]
KINDS = st.sampled_from(
    [
        ({"size": "20s"}, 20, 20),
        ({"size": "60s"}, 60, 60),
        ({"kind": "sliding", "size": "30s", "slide": "10s"}, 30, 10),
        ({"kind": "sliding", "size": "40s", "slide": "20s"}, 40, 20),
    ]
)


def run(step: Step[Any], rows: list[Row], cuts: list[int], *, restarts: bool = False, **options: Any) -> Any:
    made: list[Row] = []
    rejected: list[Any] = []
    at = 0
    for size in [*cuts, len(rows)]:
        batch = rows[at : at + size]
        at += size
        done = step.process([dict(row) for row in batch], NOW)
        assert len(batch) + done.emitted == len(done.records) + done.filtered + done.absorbed + len(
            done.rejects
        )
        made += done.records
        rejected += [bad.record["place"] for bad in done.rejects]
        if restarts and (state := step.snapshot()) is not None:
            step = new(**options)
            step.restore(state, NOW)
            assert step.snapshot() == state
    made += step.tick(Now(3000.0, NOW.mono_s + 30)).records
    assert step.next_deadline() is None
    return made, rejected


@pytest.mark.parametrize("delay", [0, 5, 90])
@quick
@given(
    rows=ROWS, kind=KINDS, cuts=st.lists(st.integers(1, 50), max_size=4), written=st.sampled_from(AS_WRITTEN)
)
def test_shuffled_and_late_rows_give_what_brute_force_gives(
    delay: int, rows: list[Row], kind: Any, cuts: list[int], written: Callable[[int], Any]
) -> None:
    options, size, slide = kind
    brute = Brute(size, slide, delay)
    given_rows = []
    for place, row in enumerate(rows):
        brute.add(place, row)
        given_rows.append(row | {"t": written(row["t"]), "place": place})
    brute.end()
    options = options | {"watermark_delay": f"{delay}s"}
    made, rejected = run(new(**options), given_rows, cuts)
    assert_same(made, brute.results)
    assert rejected == brute.late
    again, _ = run(new(**options), given_rows, [])
    assert again == made
    restarted, _ = run(new(**options), given_rows, cuts, restarts=True, **options)
    assert restarted == made
