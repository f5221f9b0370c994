import asyncio
import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamd.core.books import Books
from streamd.core.errors import ConfigError, SinkError
from streamd.core.now import Now
from streamd.ledger.ledger import Ledger
from streamd.sqlite import retention

DAY_S = 86400.0
TIMED = {"at": "timestamp"}
BY_COLUMN = {"max_age": "1d", "age_column": "at"}
NOW_S = 1_900_000_000.0
COLUMNS = {"n": "int", "text": "str"}


@pytest.fixture
def expire(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """Stops a sink's own clockwork and gives a function that steps until nothing is left to do."""

    async def idle(*_: object) -> None:
        return None

    monkeypatch.setattr("streamd.sinks.sqlite.run_retention", idle)

    async def steps(sink: Any) -> int:
        sink._retention._clock = lambda: Now(NOW_S, 0.0)
        count = 0
        while await sink._retention.step(sink._writer.database, sink.config.retention.max_size):
            count += 1
            assert count < 10_000
        return count

    return steps


def rows(count: int, size: int = 200) -> list[dict[str, Any]]:
    return [{"n": i, "text": f"{i:{size}}"} for i in range(count)]


async def test_rows_older_than_max_age_go_and_are_counted(bench: Any, batch_of: Any, expire: Any) -> None:
    sink = await bench.open(
        table="t", columns=COLUMNS, metadata=True, retention={"min_free": "0B", "max_age": "30d"}
    )
    for age_days in (40, 31, 30, 29):
        await sink.write([batch_of(rows(1000), received_at=NOW_S - age_days * DAY_S)])
    assert await expire(sink) >= 2
    assert bench.query("SELECT count(*), min(rowid) FROM t") == [(2000, 2001)]
    assert sink.context.counters["expired", ""] == 2000


@pytest.mark.parametrize("path", ["data.db", "data-%Y.db"])
@pytest.mark.parametrize("bound", [{"max_age": "1h"}, {"max_size": "1MiB"}])
async def test_retention_goes_on_from_the_open_to_the_close(
    bench: Any, batch_of: Any, until: Any, monkeypatch: pytest.MonkeyPatch, path: str, bound: dict[str, str]
) -> None:
    monkeypatch.setattr(retention, "_LOOK_EVERY_S", 0.001)
    sink = bench.sink(path=path, retention={"min_free": "0B"} | bound)
    await sink.open()
    for _ in range(2):
        before = sink.context.counters["expired", ""]
        await sink.write([batch_of(rows(1000, 2000))])
        await until(lambda: sink.context.counters["expired", ""] > before)  # noqa: B023 - awaited in its own turn
    keeper = sink._keeper
    assert keeper is not None
    assert not keeper.done()
    await sink.close()
    assert keeper.cancelled()
    assert bench.databases.paths == []


async def test_without_a_bound_nothing_expires(bench: Any) -> None:
    for path in ("data.db", "data-%Y.db"):
        assert (await bench.open(path=path))._keeper is None


async def test_rows_of_the_catch_all_go_by_age_too(bench: Any, batch_of: Any, expire: Any) -> None:
    sink = await bench.open(retention={"min_free": "0B", "max_age": "1h"})
    await sink.write([batch_of([{"a": 1}], received_at=NOW_S - 3601)])
    await sink.write([batch_of([{"a": 2}], received_at=NOW_S)])
    await expire(sink)
    assert bench.query("SELECT record FROM records") == [('{"a":2}',)]


async def test_rows_of_unknown_age_go_with_the_next_whose_age_is_known(
    bench: Any, batch_of: Any, expire: Any
) -> None:
    sink = await bench.open(retention={"min_free": "0B", "max_age": "1h"})
    await sink.write([batch_of([{"a": 1}], lifted=True), batch_of([{"a": 2}], received_at=NOW_S - 7200)])
    await sink.write([batch_of([{"a": 3}], lifted=True), batch_of([{"a": 4}], received_at=NOW_S)])
    await expire(sink)
    assert bench.query("SELECT id FROM records") == [(3,), (4,)]
    assert sink.context.counters["expired", ""] == 2


async def test_replaced_rows_keep_their_place_and_are_found_by_their_new_age(
    bench: Any, batch_of: Any, expire: Any
) -> None:
    sink = await bench.open(
        table="t", columns=COLUMNS, metadata=True, unique=["n"],
        retention={"min_free": "0B", "max_age": "1d"},
    )  # fmt: skip
    await sink.write([batch_of(rows(10), received_at=NOW_S - 2 * DAY_S)])
    await sink.write([batch_of(rows(1), received_at=NOW_S)])
    await expire(sink)
    assert bench.query("SELECT n FROM t") == [(0,)]
    assert sink.context.counters["expired", ""] == 9


async def test_the_age_can_be_that_of_a_column_in_any_order(bench: Any, batch_of: Any, expire: Any) -> None:
    sink = await bench.open(
        table="t", columns={"at": "timestamp"},
        retention={"min_free": "0B", "max_age": "1d", "age_column": "at"},
    )  # fmt: skip
    times = [NOW_S, NOW_S - 3 * DAY_S, NOW_S - 60, NOW_S - 2 * DAY_S, NOW_S + 9 * DAY_S]
    await sink.write([batch_of([{"at": at} for at in times])])
    await expire(sink)
    assert bench.query("SELECT rowid FROM t ORDER BY rowid") == [(1,), (3,), (5,)]
    assert bench.query("SELECT count(*) FROM pragma_index_list('t')") == [(1,)]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"columns": COLUMNS, "retention": {"max_age": "1d"}}, "how old a row is"),
        ({"columns": COLUMNS, "retention": {"max_age": "1d", "age_column": "n"}}, "no column of type"),
        ({"retention": {"max_age": "1d", "age_column": "record"}}, "no column of type timestamp"),
        ({"columns": TIMED, "retention": {"age_column": "at"}}, "needs 'retention.max_age'"),
        ({"path": "%Y.db", "columns": TIMED, "retention": BY_COLUMN}, "without a date"),
        ({"path": "%d.db"}, "names no periods"),
    ],
)  # fmt: skip
def test_what_retention_cannot_do_is_refused(bench: Any, config: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        bench.sink(**config)


async def test_the_file_is_brought_within_max_size_and_the_newest_rows_stay(
    bench: Any, batch_of: Any, expire: Any
) -> None:
    sink = await bench.open(table="t", columns=COLUMNS, retention={"min_free": "0B", "max_size": "1MiB"})
    for _ in range(5):
        await sink.write([batch_of(rows(4000))])
    await expire(sink)
    ((count, first, last),) = bench.query("SELECT count(*), min(rowid), max(rowid) FROM t")
    assert (last, last - first + 1) == (20_000, count)
    assert sink.context.counters["expired", ""] == 20_000 - count
    assert count > 1000
    await bench.close()
    assert (bench.folder / "data.db").stat().st_size <= 2**20 * 9 // 8


async def used_bytes(sink: Any) -> int:
    file_bytes, free_bytes = await sink._writer.database.sizes_bytes()
    return int(file_bytes - free_bytes)


NARROW, WIDE = 100, 100_000


@pytest.mark.parametrize(
    "sizes",
    [[NARROW] * 20_000, [WIDE] * 30, [NARROW] * 8000 + [WIDE] * 30, [WIDE] * 30 + [NARROW] * 8000],
    ids=["narrow", "wide", "narrow_then_wide", "wide_then_narrow"],
)
async def test_no_more_goes_than_a_small_bound_asks_for(
    bench: Any, batch_of: Any, expire: Any, sizes: list[int]
) -> None:
    sink = await bench.open(table="t", columns=COLUMNS, retention={"min_free": "0B", "max_size": "1MiB"})
    await sink.write([batch_of([{"n": n, "text": "x" * size} for n, size in enumerate(sizes)])])
    await expire(sink)
    left = 2**20 * 15 // 16 - max(sizes)
    assert left < await used_bytes(sink) <= 2**20
    for size in sizes[-100:]:  # and so it stays while rows come and go
        await sink.write([batch_of([{"n": 0, "text": "y" * size}] * max(1, WIDE // size))])
        await expire(sink)
        assert left < await used_bytes(sink) <= 2**20
    ((count, first, last),) = bench.query("SELECT count(*), min(rowid), max(rowid) FROM t")
    assert last - first + 1 == count
    assert sink.context.counters["expired", ""] == last - count


@pytest.mark.parametrize(
    "numbers",
    ["rowid * 1000003", "rowid + 1000000000 * (rowid > 100)", "rowid + 1000000000 * (rowid > 5990)"],
)
async def test_gaps_in_the_numbers_of_rows_make_no_difference(
    bench: Any, batch_of: Any, expire: Any, numbers: str
) -> None:
    sink = await bench.open(table="t", columns=COLUMNS, retention={"min_free": "0B", "max_size": "1MiB"})
    await sink.write([batch_of(rows(6000))])
    await sink._writer.database.execute(f"UPDATE t SET rowid = -({numbers})")  # noqa: S608 - our own words
    await sink._writer.database.execute("UPDATE t SET rowid = -rowid")
    await expire(sink)
    assert 2**20 * 15 // 16 <= await used_bytes(sink) <= 2**20
    ((count, first, last),) = bench.query("SELECT count(*), min(n), max(n) FROM t")
    assert (last, last - first + 1) == (5999, count)


async def test_tables_of_others_are_in_the_bound_and_left_alone(
    bench: Any, batch_of: Any, expire: Any
) -> None:
    bound = {"min_free": "0B", "max_size": "2MiB"}
    sink = await bench.open(table="t", columns=COLUMNS, retention=bound)
    other = await bench.open(table="other", columns=COLUMNS)
    await other.write([batch_of(rows(10, WIDE))])
    await sink.write([batch_of(rows(10_000))])
    await expire(sink)
    assert 2**21 * 15 // 16 <= await used_bytes(sink) <= 2**21
    assert bench.query("SELECT count(*) FROM other") == [(10,)]
    await other.write([batch_of(rows(20, WIDE))])
    await expire(sink)  # ends, though the file stays over its bound
    assert await used_bytes(sink) > 2**21
    assert bench.query("SELECT (SELECT count(*) FROM other), (SELECT count(*) FROM t)") == [(30, 0)]
    assert sink.context.counters["expired", ""] == 10_000


async def test_a_file_made_without_auto_vacuum_keeps_its_size_and_the_user_is_told_what_to_run(
    bench: Any, batch_of: Any, expire: Any
) -> None:
    bench.query("CREATE TABLE other (a)")
    with capture_logs() as told:
        sink = await bench.open(table="t", columns=COLUMNS, retention={"min_free": "0B", "max_size": "1MiB"})
    (warning,) = (event for event in told if event["event"] == "database_keeps_its_size")
    assert "PRAGMA auto_vacuum = INCREMENTAL; VACUUM;" in warning["hint"]
    for _ in range(3):
        await sink.write([batch_of(rows(4000))])
        await expire(sink)
    file_bytes, free_bytes = await sink._writer.database.sizes_bytes()
    assert file_bytes - free_bytes <= 2**20
    await bench.close()
    connection = sqlite3.connect(bench.folder / "data.db", isolation_level=None)
    connection.executescript(warning["hint"].partition(": ")[2])
    connection.close()
    assert (bench.folder / "data.db").stat().st_size <= 2**20 * 9 // 8


async def test_the_first_to_open_a_file_need_not_know_of_the_retention_of_another(
    bench: Any, tmp_path: Path
) -> None:
    sink = bench.sink(table="t", columns=COLUMNS, retention={"min_free": "0B", "max_size": "1MiB"})
    ledger = await bench.databases.acquire(tmp_path / "data.db")
    await ledger.execute("CREATE TABLE ledger (a)")
    await sink.open()
    assert sink._writer.database.reclaim
    await sink.close()
    await bench.databases.release(ledger)


@pytest.fixture
async def ledger(bench: Any, tmp_path: Path) -> AsyncIterator[Ledger]:
    sink = bench.sink(retention={"min_free": "0B", "max_size": "1MiB"})
    database = await bench.databases.acquire(tmp_path / "data.db")
    ledger = Ledger(Books(), database, "run", 5.0)
    await ledger.open()
    yield ledger
    await ledger.close()
    await bench.databases.release(database)
    assert sink.context.counters.numbers() == {}


async def test_at_every_moment_the_ledger_says_how_many_rows_there_are(
    bench: Any, batch_of: Any, ledger: Ledger
) -> None:
    """count(*) = stored - replaced - expired, read in one snapshot while rows come and go."""
    sink = await bench.open(
        table="t", columns=COLUMNS, unique=["n"], retention={"min_free": "0B", "max_size": "1MiB"}
    )
    equation = (
        "SELECT (SELECT count(*) FROM t),"
        " (SELECT sum(CASE counter WHEN 'stored' THEN n ELSE -n END) FROM ledger"
        "   WHERE sink = 'store' AND counter IN ('stored', 'replaced', 'expired'))"
    )
    for turn in range(30):
        base = turn * 900  # a tenth of each batch replaces rows of the one before
        await sink.write([batch_of([{"n": base + i, "text": "x" * 200} for i in range(1000)])])
        ((count, told),) = bench.query(equation)
        assert count == told
        await sink._retention.step(sink._writer.database, sink.config.retention.max_size)
        ((count, told),) = bench.query(equation)
        assert count == told
        await ledger.flush()
    assert sink.context.counters["expired", ""] > 1000
    ((count, told),) = bench.query(equation)
    assert count == told
    assert bench.query("SELECT sum(n) FROM ledger WHERE counter = 'expired'") == [
        (sink.context.counters["expired", ""],)
    ]


@pytest.mark.parametrize("more", [{}, {"indexes": [["received_at"]]}, {"unique": ["n"]}])
async def test_a_row_of_just_max_age_is_not_older_than_it(
    bench: Any, batch_of: Any, expire: Any, more: dict[str, Any]
) -> None:
    sink = await bench.open(
        table="t", columns=COLUMNS, metadata=True, retention={"min_free": "0B", "max_age": "30d"}, **more
    )
    for n, age_s in enumerate((30 * DAY_S + 0.001, 30 * DAY_S, 30 * DAY_S - 0.001)):
        await sink.write([batch_of([{"n": n}], received_at=NOW_S - age_s)])
    await expire(sink)
    assert bench.query("SELECT n FROM t") == [(1,), (2,)]
    assert await expire(sink) == 0  # also where that row is the first


async def test_a_row_goes_for_size_only_when_the_bound_is_passed(
    bench: Any, batch_of: Any, expire: Any
) -> None:
    sink = await bench.open(table="t", columns=COLUMNS, retention={"min_free": "0B", "max_size": "1MiB"})
    await sink.write([batch_of(rows(2000))])
    del expire
    bound = await used_bytes(sink)
    assert await sink._retention.step(sink._writer.database, bound) is False
    assert sink.context.counters["expired", ""] == 0
    assert await sink._retention.step(sink._writer.database, bound - 1) is True
    while await sink._retention.step(sink._writer.database, bound - 1):
        pass
    assert sink.context.counters["expired", ""] > 0
    assert await used_bytes(sink) <= bound - 1


async def test_a_file_far_above_its_bound_shrinks_in_large_steps_on_a_slow_machine_too(
    bench: Any, batch_of: Any, expire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await bench.open(table="t", columns=COLUMNS, retention={"min_free": "0B", "max_size": "1MiB"})
    await sink.write([batch_of(rows(20_000))])
    del expire
    seconds = itertools.count(0.0, 0.02)
    monkeypatch.setattr(
        "streamd.sqlite.retention.time.monotonic", lambda: next(seconds)
    )  # a step takes 20 ms
    steps = 0
    while await used_bytes(sink) > 1.5 * 2**20:
        assert await sink._retention.step(sink._writer.database, 2**20)
        steps += 1
    assert steps < 20
    while await sink._retention.step(sink._writer.database, 2**20):
        steps += 1
    assert sink._retention._rows < 1000, "near the bound the writers wait for short steps only"


async def test_writing_stops_when_less_than_min_free_is_left_and_not_at_it(
    bench: Any, batch_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await bench.open(retention={"min_free": "64MiB"})
    monkeypatch.setattr("streamd.sinks.sqlite.free_bytes", lambda _: 64 << 20)
    await sink.write([batch_of([{"a": 1}])])
    monkeypatch.setattr("streamd.sinks.sqlite.free_bytes", lambda _: (64 << 20) - 1)
    with pytest.raises(SinkError, match="min_free"):
        await sink.write([batch_of([{"a": 2}])])
    assert bench.query("SELECT count(*) FROM records") == [(1,)]


async def test_the_next_step_comes_soon_where_more_is_to_do_and_late_after_a_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[Any] = [True, True, False, SinkError("locked"), True]
    rests_s: list[float] = []

    async def step() -> bool:
        found = steps.pop(0)
        if isinstance(found, Exception):
            raise found
        return bool(found)

    async def rest(seconds: float) -> None:
        rests_s.append(seconds)
        if not steps:
            raise asyncio.CancelledError

    monkeypatch.setattr(retention, "asyncio", SimpleNamespace(sleep=rest))
    with pytest.raises(asyncio.CancelledError):
        await retention.run_retention(step, "readings")
    soon_s, often_s, later_s = retention._REST_S, retention._LOOK_EVERY_S, retention._RETRY_S
    assert rests_s == [soon_s, soon_s, often_s, later_s, soon_s]
    assert soon_s < often_s < later_s
