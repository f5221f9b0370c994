"""Late records, late updates and early results compared with what DuckDB computes from the order of arrival:
the watermark of each row is a running maximum over the rows before it.
"""

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

AGGREGATES = {"n": "count()", "sum": "sum(v)", "least": "min(v)", "greatest": "max(v)"}
FOUND = "count(*), sum(v), min(v), max(v)"
EARLY_S = 10
SENDERS = {"10.0.0.1": 0, "10.0.0.2": 400, "10.0.0.3": -90}
"""The clock of each is wrong by so many seconds."""

LINES = {
    "key": "max(t) over (partition by k order by i)",
    "sender": "max(t) over (partition by s order by i)",
    "pipeline": """max((
        select min(greatest) from (select max(t) as greatest from rows as b where b.i <= rows.i group by s)
    )) over (order by i)""",
}
"""The greatest time of the timeline up to a row, by `watermark_by`. That of the pipeline is the least of its
senders, as it was at its greatest.
"""


def tables(options: dict[str, Any]) -> str:
    """Tables of the watermarks, and of the rows in their windows."""
    size, delay, lateness = options["size"], options["delay"], options["lateness"]
    slide = options["slide"] or size
    timeline = {"key": "k", "sender": "s", "pipeline": "0"}[options["by"]]
    return f"""
        create table lines as select *, {LINES[options["by"]]} - {delay} as after from rows;
        create table marked as
            select *, lag(after) over (partition by {timeline} order by i) as line from lines;
        create table windows as
            select marked.*, t // {slide} * {slide} - back * {slide} as w, w + {size} as until,
                until + {lateness} <= coalesce(line, -1e9) as is_gone,
                until <= coalesce(line, -1e9) as was_closed
            from marked, range({size} // {slide}) as r(back);
        create table late as select i from windows group by i having bool_and(is_gone);
        create table taken as select * from windows where not is_gone;
    """  # noqa: S608 - our own text


COUNTS = """
    select
        (select count(*) from late),
        (select count(distinct i) from windows where is_gone and i not in (from late)),
        (select count(distinct i) from taken where was_closed)
"""
FINAL = f"select k, w, {FOUND} from taken group by k, w"  # noqa: S608 - our own text
# An early result of a window has all its rows so far. It is made in each turn in which a row was added to it,
# unless it has closed by then. The watermark of the key at the end of a turn is the last one of its timeline.
EARLY = f"""
    with ends as (
        select distinct turn, k, w, until from taken
    ), open as (
        select e.* from ends as e
        where e.until > (
            select l.after from lines as l
            where l.turn <= e.turn and {{same}} order by l.i desc limit 1
        )
    )
    select o.turn, o.k, o.w, {FOUND}
    from open as o join taken as t on t.k = o.k and t.w = o.w and t.turn <= o.turn
    group by o.turn, o.k, o.w
"""  # noqa: S608 - our own text
SAME = {
    "key": "l.k = e.k",
    "sender": "l.s = (select any_value(s) from rows where rows.k = e.k)",
    "pipeline": "true",
}


class ByDuckDB:
    """What a query says about rows (i, turn, s, k, t, v)."""

    def __init__(self, rows: list[dict[str, Any]], options: dict[str, Any]) -> None:
        with duckdb.connect() as db:
            db.execute("create table rows (i int, turn int, s varchar, k varchar, t bigint, v bigint)")
            db.executemany(
                "insert into rows values (?, ?, ?, ?, ?, ?)",
                [[row[name] for name in ("i", "turn", "s", "k", "t", "v")] for row in rows],
            )
            db.execute(tables(options))
            self.late = [i for (i,) in db.execute("from late order by i").fetchall()]
            self.counts = db.execute(COUNTS).fetchone()
            self.final = {(k, w): tuple(found) for k, w, *found in db.execute(FINAL).fetchall()}
            self.early: dict[Any, Any] = {}
            if options["early"]:
                early = db.execute(EARLY.format(same=SAME[options["by"]])).fetchall()
                self.early = {(turn, k, w): tuple(found) for turn, k, w, *found in early}


class ByStreamd:
    """What the step makes of the same rows, in batches. Each turn ends with a tick."""

    def __init__(self, rows: list[dict[str, Any]], options: dict[str, Any], batch: int) -> None:
        config = {
            "key": ["k"],
            "time": "t",
            "max_future": "3660d",
            "aggregate": AGGREGATES,
            "kind": "sliding" if options["slide"] else "tumbling",
            "size": f"{options['size']}s",
            "watermark_by": options["by"],
            "watermark_delay": f"{options['delay']}s",
            "idle_timeout": "1h",
            "late": options["late"],
        }
        if options["slide"]:
            config["slide"] = f"{options['slide']}s"
        if options["lateness"]:
            config["allowed_lateness"] = f"{options['lateness']}s"
        if options["early"]:
            config["early"] = f"{EARLY_S}s"
        self.step = Window(Window.Config(**config), StepContext("window[0]", "p", None, Path()))
        self.step.open()
        self.late: list[int] = []
        self.filtered = 0
        self.final: dict[Any, Any] = {}
        self.emissions = 0
        self.early: dict[Any, Any] = {}
        now_s = 0.0
        last = rows[-1]["turn"]
        for turn in range(last + 1):
            now = Now(now_s, now_s)
            these = [{**row, "@peer": f"{row['s']}:{row['i']}"} for row in rows if row["turn"] == turn]
            for at in range(0, len(these), batch):
                done = self.step.process(these[at : at + batch], now)
                self.filtered += done.filtered
                self.late += [bad.record["i"] for bad in done.rejects]
                assert {bad.reason for bad in done.rejects} <= {"window:late"}
                self.take(done.records, turn)
            now_s += EARLY_S
            self.take(self.step.tick(Now(now_s, now_s)).records, turn)
        while (due := self.step.next_deadline()) is not None:
            self.take(self.step.tick(Now(due, due)).records, last + 1)
        counters = self.step.context.counters
        self.counts = tuple(counters[name, ""] for name in ("late", "late_partial", "late_updates"))
        self.windows = counters["windows", ""]

    def take(self, records: list[dict[str, Any]], turn: int) -> None:
        for record in records:
            start = round(datetime.fromisoformat(record["window_start"]).timestamp())
            values = tuple(record[name] for name in AGGREGATES)
            if not record["final"]:
                assert (turn, record["k"], start) not in self.early
                self.early[turn, record["k"], start] = values
                continue
            self.emissions += 1
            if (record["k"], start) in self.final:  # the step makes a window again only with a row more
                assert values[0] == self.final[record["k"], start][0] + 1
            self.final[record["k"], start] = values


def stream(count: int, seed: int, *, lag: int) -> list[dict[str, Any]]:
    """Rows of nine sensors at three senders, in the order of arrival. Time passes between turns."""
    rnd = random.Random(seed)  # noqa: S311 - no secret
    turn, rows = 0, []
    for i in range(count):
        turn += rnd.random() < 0.1
        sender = rnd.choice([*SENDERS])
        behind = rnd.choice([0, 0, rnd.randrange(20), rnd.randrange(lag)])
        rows.append(
            {
                "i": i,
                "turn": turn,
                "s": sender,
                "k": f"{sender}-{rnd.randrange(3)}",
                "t": 1000 + i * 2 + SENDERS[sender] - behind,
                "v": rnd.choice([None, rnd.randrange(-50, 50), rnd.randrange(100)]),
            }
        )
    return rows


@pytest.mark.parametrize("late", ["reject", "drop", "update"])
@pytest.mark.parametrize("by", ["key", "sender", "pipeline"])
@settings(max_examples=12, deadline=None)
@given(
    count=st.integers(1, 150),
    seed=st.integers(0, 2**32),
    lag=st.sampled_from([1, 60, 300]),
    span=st.sampled_from([(20, 0), (60, 0), (30, 10), (60, 20)]),
    delay=st.sampled_from([0, 5, 40]),
    lateness=st.sampled_from([10, 20, 33]),
    early=st.booleans(),
    batch=st.integers(1, 60),
)
def test_what_is_late_is_what_duckdb_finds_in_the_order_of_arrival(
    late: str,
    by: str,
    count: int,
    seed: int,
    lag: int,
    span: tuple[int, int],
    delay: int,
    lateness: int,
    early: bool,
    batch: int,
) -> None:
    size, slide = span
    options = {
        "size": size,
        "slide": slide,
        "by": by,
        "delay": delay,
        "late": late,
        "lateness": lateness if late == "update" else 0,
        "early": early,
    }
    rows = stream(count, seed, lag=lag)
    wanted, made = ByDuckDB(rows, options), ByStreamd(rows, options, batch)
    assert made.counts == wanted.counts
    assert (made.late, made.filtered) == (([], len(wanted.late)) if late == "drop" else (wanted.late, 0))
    assert made.final == wanted.final
    assert made.early == wanted.early
    assert made.emissions >= made.windows
    assert made.emissions == len(made.final) or late == "update"
