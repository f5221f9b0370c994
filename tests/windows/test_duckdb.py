"""Windows compared with what DuckDB computes over the same rows, shuffled, late and with skewed clocks."""

import math
import random
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.core.contracts import StepContext
from streamd.core.now import Now
from streamd.steps.window import Window

EXACT = {
    "n": "count()", "valued": "count(v)", "sum": "sum(v)", "mean": "mean(v)", "least": "min(v)",
    "greatest": "max(v)", "deviation": "stddev(v)", "earliest": "first(v)", "latest": "last(v)",
    "increase": "delta(v)", "speed": "rate(v)",
}  # fmt: skip
AGGREGATES = """count(*), count(v), sum(v), avg(v), min(v), max(v), stddev_samp(v),
    arg_min(v, t) filter (v is not null), arg_max(v, t) filter (v is not null)"""
INCREASE = """
    with steps as (
        select k, w, t, v, lag(v) over (partition by k, w order by t) as before
        from windows where v is not null
    ), sums as (
        select k, w, count(*) as rows, max(t) - min(t) as seconds,
            sum(case when before is null then 0 when v >= before then v - before else v end) as increase
        from steps group by k, w
    )
"""
NOW = Now(0.0, 0.0)


def windows_of(options: dict[str, Any]) -> str:
    """A query for the start of the windows of each row."""
    if options["kind"] == "session":
        gap = options["gap"].removesuffix("s")
        return f"""
            select k, t, v, min(t) over (partition by k, number) as w from (
                select *, sum(pause) over (partition by k order by t) as number from (
                    select *, case when t - lag(t) over (partition by k order by t) < {gap} then 0 else 1 end
                    as pause from events
                )
            )"""  # noqa: S608 - our own text
    size = options["size"].removesuffix("s")
    slide = options.get("slide", options["size"]).removesuffix("s")
    return f"""
        select k, t, v, cast(floor(t / {slide}) * {slide} - back * {slide} as bigint) as w
        from events, range({size} // {slide}) as r(back)"""  # noqa: S608 - our own text


def by_duckdb(rows: list[dict[str, Any]], options: dict[str, Any]) -> dict[Any, list[Any]]:
    with duckdb.connect() as db:
        db.execute("create table events (k varchar, t bigint, v double)")
        db.executemany("insert into events values (?, ?, ?)", [[r["k"], r["t"], r["v"]] for r in rows])
        db.execute(f"create table windows as {windows_of(options)}")
        found = db.execute(
            f"""{INCREASE}
            select k, w, {AGGREGATES},
                max(case when rows > 1 then increase end),
                max(case when rows > 1 and seconds > 0 then increase / seconds end)
            from windows left join sums using (k, w) group by k, w"""  # noqa: S608 - our own text
        ).fetchall()
    return {(k, w): values for k, w, *values in found}


def by_streamd(rows: list[dict[str, Any]], options: dict[str, Any], cuts: int = 7) -> dict[Any, list[Any]]:
    config = {
        "key": ["k"],
        "time": "t",
        "max_future": "3660d",
        "idle_timeout": "30s",
        "aggregate": EXACT,
    } | options
    step = Window(Window.Config(**config), StepContext("window[0]", "p", None, Path()))
    step.open()
    made = []
    for at in range(0, len(rows), cuts):
        done = step.process(rows[at : at + cuts], NOW)
        assert not done.rejects
        made += done.records
    made += step.tick(Now(0.0, 30.0)).records
    found = {}
    for row in made:
        start = round(datetime.fromisoformat(row["window_start"]).timestamp())
        assert (row["k"], start) not in found
        found[row["k"], start] = [row[name] for name in EXACT]
    return found


def same(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is None and other is None
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-6)


TIMES = st.lists(st.integers(0, 4000), min_size=1, max_size=150, unique=True)
KINDS = [
    {"kind": "tumbling", "size": "60s"},
    {"kind": "sliding", "size": "60s", "slide": "20s"},
    {"kind": "session", "gap": "30s"},
]


@pytest.mark.parametrize("options", KINDS, ids=lambda options: options["kind"])
@settings(max_examples=20, deadline=None)
@given(times=TIMES, seed=st.integers(0, 2**32))
def test_every_exact_aggregate_is_what_duckdb_computes(
    options: dict[str, Any], times: list[int], seed: int
) -> None:
    rnd = random.Random(seed)  # noqa: S311 - no secret
    skew = {"a": 0, "b": 3000, "c": -900}
    rows = []
    for time in times:
        k = rnd.choice("abc")
        v = None if rnd.random() < 0.1 else rnd.choice([rnd.uniform(-50, 50), float(rnd.randrange(100))])
        rows.append({"k": k, "t": time + skew[k], "v": v})
    rnd.shuffle(rows)
    wanted = by_duckdb(rows, options)
    made = by_streamd(rows, options | {"watermark_delay": "4000s"})
    assert made.keys() == wanted.keys()
    for place, values in made.items():
        wrong = [n for n, a, b in zip(EXACT, values, wanted[place], strict=True) if not same(a, b)]
        assert not wrong, (place, values, wanted[place])
