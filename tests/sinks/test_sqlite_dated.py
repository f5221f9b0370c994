import asyncio
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamd.core.errors import SinkError
from streamd.core.now import Now
from streamd.sqlite.dated_writer import remove_table

LAST_S = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC).timestamp()
FIRST_S = LAST_S + 1
DAYS = {"path": "d-%Y-%m-%d.db", "table": "t", "columns": {"n": "int"}}
ONE, TWO = "d-2026-01-31.db", "d-2026-02-01.db"


@pytest.fixture(autouse=True)
def no_clockwork(monkeypatch: pytest.MonkeyPatch) -> None:
    async def idle(*_: object) -> None:
        return None

    monkeypatch.setattr("streamd.sinks.sqlite.run_retention", idle)


def today() -> str:
    return datetime.now(UTC).strftime(DAYS["path"])  # type: ignore[arg-type]  # it is a text


async def test_a_batch_over_midnight_goes_to_the_days_its_records_were_received(
    bench: Any, batch_of: Any
) -> None:
    sink = await bench.open(**DAYS)
    written = await sink.write(
        [
            batch_of([{"n": n} for n in (1, 2, "x", 3)], received_at=[LAST_S, FIRST_S, LAST_S, LAST_S]),
            batch_of([{"n": 4}], received_at=FIRST_S),
        ]
    )
    assert bench.query("SELECT n FROM t", ONE) == [(1,), (3,)]
    assert bench.query("SELECT n FROM t", TWO) == [(2,), (4,)]
    assert written.rejected_counts == [1, 0]
    assert [letter.payload for letter in bench.office.letters] == [{"n": "x"}]


async def test_flat_records_and_lifted_ones_are_divided_too(bench: Any, batch_of: Any) -> None:
    schema = bench.schema(n="int", s="str")
    sink = await bench.open(**DAYS | {"columns": {}, "schema": "reading", "metadata": True})
    assert sink.accepts_typed(schema)
    times, peers = [LAST_S, FIRST_S, LAST_S], ["a", "b", "c"]
    flat = [schema.struct(n=n, s=str(n)) for n in range(3)]
    lifted = [{"n": 3, "s": "3", "@received_at": "2026-01-31T08:00:00.000000Z"}, {"n": 4, "s": "4"}]
    await sink.write(
        [batch_of(flat, schema=schema, received_at=times, peers=peers), batch_of(lifted, lifted=True)]
    )
    assert bench.query("SELECT n, s, peer FROM t", ONE) == [(0, "0", "a"), (2, "2", "c"), (3, "3", None)]
    assert bench.query("SELECT n, s, peer FROM t", TWO) == [(1, "1", "b")]
    assert bench.query("SELECT n FROM t", today()) == [(4,)]  # received never: stored now


async def test_a_write_tried_again_commits_only_the_files_that_are_missing(
    bench: Any, batch_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await bench.open(**DAYS)
    batches = [batch_of([{"n": 1}, {"n": 2}], received_at=[LAST_S, FIRST_S])]
    real = sink._writer._open_file

    async def no_second_day(path: Path) -> Any:
        if path.name == TWO:
            raise SinkError("locked")
        return await real(path)

    with monkeypatch.context() as patch:
        patch.setattr(sink._writer, "_open_file", no_second_day)
        for _ in range(3):
            with pytest.raises(SinkError, match="locked"):
                await sink.write(batches)
    assert (await sink.write(batches)).rejected_counts == [0]
    assert bench.query("SELECT n FROM t", ONE) == [(1,)]
    assert bench.query("SELECT n FROM t", TWO) == [(2,)]


async def test_a_day_whose_file_cannot_be_used_is_trouble_of_the_sink_and_passes(
    bench: Any, batch_of: Any
) -> None:
    sink = await bench.open(**DAYS)
    (bench.folder / ONE).mkdir()
    batches = [batch_of([{"n": 1}], received_at=LAST_S)]
    with pytest.raises(SinkError, match="cannot_open"):
        await sink.write(batches)
    (bench.folder / ONE).rmdir()
    await sink.write(batches)
    assert bench.query("SELECT n FROM t", ONE) == [(1,)]


async def test_a_day_that_is_taken_away_is_made_anew(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(**DAYS)
    batches = [batch_of([{"n": 1}], received_at=LAST_S)]
    await sink.write(batches)
    (bench.folder / ONE).rename(bench.folder / "elsewhere.db")
    with pytest.raises(SinkError, match="moved"):
        await sink.write(batches)
    await sink.write(batches)
    assert bench.query("SELECT n FROM t", ONE) == [(1,)]


async def test_files_of_days_long_over_are_closed(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(**DAYS)
    for day in range(10):
        await sink.write([batch_of([{"n": day}], received_at=LAST_S + day * 86400)])
    assert len(list(bench.folder.glob("d-*.db-wal"))) <= 4
    assert len(list(bench.folder.glob("d-*.db"))) == 11


async def test_whole_files_go_when_they_are_too_old_and_are_counted_by_their_rows(
    bench: Any, batch_of: Any
) -> None:
    sink = await bench.open(**DAYS, retention={"min_free": "0B", "max_age": "7d"})
    await sink.write([batch_of([{"n": n} for n in range(100)], received_at=LAST_S)])
    await sink.write([batch_of([{"n": n} for n in range(10)], received_at=datetime.now(UTC).timestamp())])
    while await sink._writer.expire():
        pass
    assert not (bench.folder / ONE).exists()
    assert not (bench.folder / f"{ONE}-wal").exists()
    assert bench.query("SELECT count(*) FROM t", today()) == [(10,)]
    assert sink.context.counters["expired", ""] == 100


async def test_what_is_being_removed_when_the_sink_stops_is_counted_too(
    bench: Any, batch_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await bench.open(**DAYS, retention={"min_free": "0B", "max_age": "7d"})
    await sink.write([batch_of([{"n": n} for n in range(100)], received_at=LAST_S)])
    begun, may_go_on = threading.Event(), threading.Event()

    def slowly(path: Path, table: str) -> tuple[int, bool]:
        begun.set()
        may_go_on.wait(30)
        return remove_table(path, table)

    monkeypatch.setattr("streamd.sqlite.dated_writer.remove_table", slowly)
    expiring = asyncio.create_task(sink._writer.expire())
    await asyncio.to_thread(begun.wait, 30)
    with pytest.raises(SinkError, match="expiring"):
        await sink.write([batch_of([{"n": 1}], received_at=LAST_S)])
    expiring.cancel()
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await expiring
    assert sink.context.counters["expired", ""] == 100
    await sink.write([batch_of([{"n": 1}], received_at=LAST_S)])
    assert bench.query("SELECT n FROM t", ONE) == [(1,)]


async def test_over_max_size_the_oldest_files_go_first_and_then_rows_of_the_last(
    bench: Any, batch_of: Any
) -> None:
    config = DAYS | {"columns": {"n": "int", "text": "str"}}
    sink = await bench.open(**config, retention={"min_free": "0B", "max_size": "1MiB"})
    rows = [{"n": n, "text": "x" * 200} for n in range(3000)]
    for at in (LAST_S, FIRST_S, datetime.now(UTC).timestamp()):
        for _ in range(2):
            await sink.write([batch_of(rows, received_at=at)])
    while await sink._writer.expire():
        pass
    assert not (bench.folder / ONE).exists()
    assert not (bench.folder / TWO).exists()
    ((count,),) = bench.query("SELECT count(*) FROM t", today())
    assert 1000 < count < 6000
    assert sink.context.counters["expired", ""] == 18_000 - count
    await bench.close()
    assert (bench.folder / today()).stat().st_size <= 2**20 * 9 // 8


async def test_a_file_that_others_have_tables_in_loses_only_ours(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(**DAYS)
    await sink.write([batch_of([{"n": 1}, {"n": 2}], received_at=LAST_S)])
    await bench.close()
    bench.query("CREATE TABLE other (a)", ONE)
    path = bench.folder / ONE
    assert remove_table(path, "t") == (2, False)
    assert bench.query("SELECT name FROM sqlite_schema", ONE) == [("other",)]
    assert remove_table(path, "t") == (0, False)
    assert path.exists()


def make_foreign(path: Path, kind: str) -> None:
    """What a user may have put there, or a disk may have made of a file."""
    match kind:
        case "folder":
            path.mkdir()
            (path / "letter").write_text("dear")
        case "empty":
            path.touch()
        case "noise":
            path.write_bytes(bytes(range(256)) * 64)
        case "damaged":
            path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 64)
        case "link":
            path.symlink_to(path.parent / "nowhere")
        case "pipe":
            os.mkfifo(path)


KINDS = ("folder", "empty", "noise", "damaged", "link", "pipe")


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_no_database_is_named_once_and_never_removed(
    bench: Any, batch_of: Any, kind: str
) -> None:
    sink = await bench.open(**DAYS, retention={"min_free": "0B", "max_age": "7d"})
    path = bench.folder / "d-2026-01-01.db"
    make_foreign(path, kind)
    await sink.write([batch_of([{"n": n} for n in range(100)], received_at=LAST_S)])
    with capture_logs() as told:
        for _ in range(5):
            while await sink._writer.expire():
                pass
    assert [event["path"] for event in told if event["log_level"] == "warning"] == [str(path)]
    assert path.lstat()
    assert not (bench.folder / ONE).exists()
    assert sink.context.counters["expired", ""] == 100


async def test_what_is_no_database_costs_no_rows_by_its_size(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(**DAYS, retention={"min_free": "0B", "max_size": "1MiB"})
    (bench.folder / "d-2026-01-01.db").write_bytes(b"x" * 2**21)
    await sink.write([batch_of([{"n": 1}], received_at=LAST_S)])
    while await sink._writer.expire():
        pass
    assert bench.query("SELECT n FROM t", ONE) == [(1,)]


async def test_a_database_that_comes_in_place_of_what_was_none_is_removed_when_it_is_old(
    bench: Any, batch_of: Any
) -> None:
    sink = await bench.open(**DAYS, retention={"min_free": "0B", "max_age": "7d"})
    path = bench.folder / ONE
    path.touch()
    assert not await sink._writer.expire()
    path.unlink()
    assert not await sink._writer.expire()
    await sink.write([batch_of([{"n": 1}], received_at=LAST_S)])
    assert await sink._writer.expire()
    assert not path.exists()


async def test_a_database_without_our_table_stays(bench: Any) -> None:
    sink = await bench.open(**DAYS, retention={"min_free": "0B", "max_age": "7d"})
    bench.query("PRAGMA user_version = 7", ONE)
    while await sink._writer.expire():
        pass
    assert bench.query("PRAGMA user_version", ONE) == [(7,)]


async def test_two_sinks_on_one_pattern_expire_each_their_own_rows(bench: Any, batch_of: Any) -> None:
    kept = {"retention": {"min_free": "0B", "max_age": "7d"}}
    one, two = [await bench.open(**DAYS | {"table": table} | kept) for table in ("one", "two")]
    for sink, count in ((one, 10), (two, 20)):
        await sink.write([batch_of([{"n": n} for n in range(count)], received_at=LAST_S)])
    await one._writer._close(bench.folder / ONE)
    await two._writer._close(bench.folder / ONE)
    for sink, count in ((one, 10), (two, 20)):
        while await sink._writer.expire():
            pass
        assert sink.context.counters["expired", ""] == count
    assert not (bench.folder / ONE).exists()


def at(sink: Any, moment: datetime) -> None:
    """Let it be that moment for retention."""
    sink._retention._clock = lambda: Now(moment.timestamp(), 0.0)


@pytest.mark.parametrize(
    ("pattern", "start", "end"),
    [
        ("d-%Y-%m-%d-%H.db", datetime(2026, 1, 31, 23, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)),
        ("d-%Y-%m-%d.db", datetime(2026, 2, 28, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)),
        ("d-%Y-%m.db", datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)),
        ("d-%Y-%m.db", datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
        ("d-%Y.db", datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)),
    ],
)
async def test_a_file_stays_until_its_last_moment_is_too_old(
    bench: Any, batch_of: Any, pattern: str, start: datetime, end: datetime
) -> None:
    sink = await bench.open(**DAYS | {"path": pattern}, retention={"min_free": "0B", "max_age": "500d"})
    await sink.write([batch_of([{"n": 1}], received_at=end.timestamp() - 1)])
    name = start.strftime(pattern)
    for cutoff in (start, start + (end - start) / 2, end - timedelta(milliseconds=1)):
        at(sink, cutoff + timedelta(days=500))
        assert await sink._writer.expire() is False, cutoff
        assert bench.query("SELECT n FROM t", name) == [(1,)]
    at(sink, end + timedelta(days=500))
    assert await sink._writer.expire() is True
    assert not (bench.folder / name).exists()
    assert sink.context.counters["expired", ""] == 1


async def test_a_file_goes_only_when_all_are_more_than_max_size(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(**DAYS, retention={"min_free": "0B", "max_size": "1MiB"})
    for received_at in (LAST_S, FIRST_S):
        await sink.write([batch_of([{"n": n} for n in range(1000)], received_at=received_at)])
    at(sink, datetime(2026, 2, 2, tzinfo=UTC))
    before = {path.name for path in bench.folder.glob("d-2026-0*.db")}
    sink._writer._max_bytes = sum(size_bytes_of(bench.folder / name) for name in (ONE, TWO))
    assert await sink._writer.expire() is False
    assert {path.name for path in bench.folder.glob("d-2026-0*.db")} == before == {ONE, TWO}
    sink._writer._max_bytes -= 1
    assert await sink._writer.expire() is True
    assert {path.name for path in bench.folder.glob("d-2026-0*.db")} == {TWO}


def size_bytes_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


async def test_a_file_of_the_future_is_named_once_and_neither_counted_nor_removed(
    bench: Any, batch_of: Any
) -> None:
    sink = await bench.open(**DAYS, retention={"min_free": "0B", "max_age": "1d", "max_size": "1MiB"})
    future = datetime.now(UTC) + timedelta(days=1500)
    many = [{"n": n} for n in range(100_000)]
    await sink.write([batch_of(many, received_at=future.timestamp())])
    await sink.write([batch_of([{"n": 1}], received_at=datetime.now(UTC).timestamp())])
    name = future.strftime(DAYS["path"])  # type: ignore[arg-type]  # it is a text
    assert (bench.folder / name).stat().st_size + (bench.folder / f"{name}-wal").stat().st_size > 2**20
    with capture_logs() as told:
        for _ in range(3):
            assert await sink._writer.expire() is False
    assert [(event["event"], Path(event["path"]).name) for event in told] == [("file_of_the_future", name)]
    assert bench.query("SELECT count(*) FROM t", today()) == [(1,)]
    assert bench.query("SELECT count(*) FROM t", name) == [(100_000,)]
    at(sink, future + timedelta(days=3))
    assert await sink._writer.expire() is True  # first today's, which is older
    assert await sink._writer.expire() is True
    assert not (bench.folder / name).exists()
    assert sink.context.counters["expired", ""] == 100_001
