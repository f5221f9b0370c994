import asyncio
import math
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.core.books import Books
from streamd.core.errors import EnvironmentFault, SinkError
from streamd.core.now import Now
from streamd.core.sums import Entry
from streamd.ledger.ledger import Key, Ledger
from streamd.sqlite.database import Database

EIGHT = 1_769_846_400.0
"""2026-01-31T08:00:00Z"""


class Clock:
    """Time that stands until it is moved."""

    def __init__(self, now_s: float = EIGHT) -> None:
        self.now_s = now_s

    def __call__(self) -> Now:
        return Now(self.now_s, self.now_s)


class Run:
    """One life of the daemon: its books, its ledger and two sinks, of which only `here` shares the file."""

    def __init__(self, path: Path, run_id: str, clock: Clock, interval_s: float = 5.0) -> None:
        self.clock = clock
        self.books = Books()
        self.db = Database(path)
        self.beside: list[Entry] = []
        self.ledger = Ledger(self.books, self.db, run_id, interval_s, clock, lambda: self.beside)

    async def __aenter__(self) -> "Run":
        await self.db.open()
        await self.ledger.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.db.close()

    def receive(self, n: int, source: str = "lab") -> None:
        self.books.source(source).received += n

    def offer(self, n: int, sink: str = "here") -> None:
        self.books.delivery("lab", "main", sink).offered += n

    async def commit(self, n: int, replaced: int = 0, *, fail: bool = False) -> None:
        """What the sink `here` does in one write; the book hears of it later, from `book`."""
        await self.db.execute("CREATE TABLE IF NOT EXISTS data (x)")
        try:
            async with self.db.transaction() as entries:
                await self.db.execute_many("INSERT INTO data VALUES (?)", [(1,)] * n)
                entries.append(Entry("lab", "main", "here", "stored", "", n))
                if replaced:
                    entries.append(Entry("lab", "main", "here", "replaced", "", replaced))
                if fail:
                    raise RuntimeError("no commit today")  # noqa: TRY301 - inside the transaction is the point
        except RuntimeError:
            assert fail

    def book(self, n: int, replaced: int = 0, sink: str = "here") -> None:
        book = self.books.delivery("lab", "main", sink)
        book.stored += n
        book.replaced += replaced


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "streamd.db"


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def sums(path: Path, run_id: str) -> dict[tuple[str, ...], int]:
    found = ask(
        path,
        f"SELECT source, pipeline, sink, counter, reason, sum(n) FROM ledger WHERE run_id = '{run_id}'"  # noqa: S608 - our own words
        " AND counter NOT IN ('start', 'stop', 'unclean') GROUP BY 1, 2, 3, 4, 5",
    )
    return {row[:5]: row[5] for row in found if row[5]}


def told(books: Books) -> dict[tuple[str, ...], int]:
    return {tuple(entry[:5]): entry.n for entry in books.entries() if entry.n}


def lifecycle(path: Path) -> list[tuple[Any, ...]]:
    return ask(
        path,
        "SELECT run_id, counter, n FROM ledger WHERE counter IN ('start', 'stop', 'unclean')"
        " ORDER BY at, run_id",
    )


async def test_the_sum_over_the_rows_is_the_books(path: Path) -> None:
    async with Run(path, "one", Clock()) as run:
        run.receive(10)
        assert await run.ledger.flush()
        assert sums(path, "one") == told(run.books) == {
            ("lab", "", "", "received", ""): 10, ("lab", "", "", "waiting", ""): 10,
        }  # fmt: skip
        run.books.source("lab").decoded += 4
        run.books.source("lab").rejected["json:syntax"] += 6
        assert await run.ledger.flush()
        assert sums(path, "one") == told(run.books)
        assert ("lab", "", "", "waiting", "") not in sums(path, "one")
        await run.ledger.close()
        assert sums(path, "one") == told(run.books)
    assert lifecycle(path) == [("one", "start", 1), ("one", "stop", 1)]


async def test_an_interval_has_one_row_a_number_however_often_it_is_written(path: Path) -> None:
    clock = Clock(EIGHT + 5)
    async with Run(path, "one", clock) as run:
        for _ in range(10):
            clock.now_s += 0.4
            run.receive(1)
            await run.ledger.flush()
        clock.now_s = EIGHT + 14.9
        run.receive(1)
        await run.ledger.flush()
    assert ask(path, "SELECT at, interval_s, n FROM ledger WHERE counter = 'received' ORDER BY at") == [
        ("2026-01-31T08:00:05.000000Z", 5.0, 10),
        ("2026-01-31T08:00:10.000000Z", 5.0, 1),
    ]


async def test_nothing_changed_writes_nothing(path: Path) -> None:
    async with Run(path, "one", Clock()) as run:
        run.receive(1)
        assert await run.ledger.flush()
        before = ask(path, "SELECT count(*) FROM ledger")
        assert await run.ledger.flush()
        assert ask(path, "SELECT count(*) FROM ledger") == before


@pytest.mark.parametrize("early_s", [0.01, -0.01, -0.9])
async def test_a_flush_at_a_boundary_means_the_interval_it_ends(path: Path, early_s: float) -> None:
    clock = Clock(EIGHT)
    async with Run(path, "one", clock) as run:
        for number in (1, 2, 3):
            run.receive(number)
            clock.now_s = EIGHT + 5 * number - early_s
            await run.ledger.flush()
    assert ask(path, "SELECT substr(at, 18, 2), n FROM ledger WHERE counter = 'received' ORDER BY at") == [
        ("00", 1), ("05", 2), ("10", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("interval_s", "wall_s", "start_s", "due_s"),
    [
        (5.0, EIGHT, EIGHT, 5.0),
        (5.0, EIGHT + 59.5, EIGHT + 55, 0.5),
        (7.0, EIGHT + 57, EIGHT + 56, 3.0),
        (60.0, EIGHT + 61, EIGHT + 60, 59.0),
        (300.0, EIGHT + 301, EIGHT + 300, 299.0),
        (0.5, EIGHT + 0.75, EIGHT + 0.5, 0.25),
    ],
)
def test_intervals_divide_the_minute(
    path: Path, interval_s: float, wall_s: float, start_s: float, due_s: float
) -> None:
    ledger = Ledger(Books(), Database(path), "one", interval_s, Clock())
    assert ledger.interval_start_s(wall_s) == start_s
    assert ledger.due_in_s(wall_s) == due_s


@given(interval_s=st.floats(0.1, 600), wall_s=st.floats(0, 4e9))
def test_there_is_always_a_next_interval(interval_s: float, wall_s: float) -> None:
    ledger = Ledger(Books(), Database(Path("none")), "one", interval_s, Clock())
    assert wall_s - interval_s - 1e-3 <= ledger.interval_start_s(wall_s) <= wall_s + 1e-3
    assert 0 < ledger.due_in_s(wall_s) <= interval_s + 1e-3


async def test_what_a_sink_stores_stands_in_the_transaction_of_its_rows(path: Path) -> None:
    async with Run(path, "one", Clock()) as run:
        run.offer(10)
        await run.commit(4, replaced=1)
        stored = {(*("lab", "main", "here"), "stored", ""): 4, (*("lab", "main", "here"), "replaced", ""): 1}
        assert stored.items() <= sums(path, "one").items()
        await run.commit(5, fail=True)
        assert stored.items() <= sums(path, "one").items()
        await run.ledger.flush()  # the book has not heard of the commit
        assert stored.items() <= sums(path, "one").items()
        assert sums(path, "one")["lab", "main", "here", "pending", ""] == 6
        run.book(4, replaced=1)
        await run.ledger.flush()
        assert sums(path, "one") == told(run.books)
        await run.ledger.close()


async def test_a_commit_of_which_the_books_will_learn_is_not_taken_back_when_the_file_is_opened_anew(
    path: Path,
) -> None:
    async with Run(path, "one", Clock()) as run:
        run.offer(10)
        await run.commit(4)
        await run.ledger._resume()
        assert await run.ledger.flush()
        found = sums(path, "one")
        assert found["lab", "main", "here", "stored", ""] == 4 == ask(path, "SELECT count(*) FROM data")[0][0]
        assert found["lab", "main", "here", "pending", ""] == 6
        run.book(4)
        await run.commit(6)
        run.book(6)
        assert await run.ledger.flush()
        assert sums(path, "one") == told(run.books)


async def test_another_file_gets_the_numbers_of_the_run_so_far(path: Path) -> None:
    async with Run(path, "one", Clock()) as run:
        run.offer(10)
        await run.commit(4)
        run.book(4)
        await run.db.execute("DELETE FROM ledger")
        await run.ledger._resume()
        await run.commit(3)
        assert await run.ledger.flush()
        assert sums(path, "one")["lab", "main", "here", "stored", ""] == 7
        run.book(3)
        assert await run.ledger.flush()
        assert sums(path, "one") == told(run.books)


async def test_the_sum_of_a_delivery_holds_in_the_table_at_every_moment(path: Path) -> None:
    async with Run(path, "one", Clock()) as run:

        def holds() -> None:
            found = {key[3]: n for key, n in sums(path, "one").items() if key[2] == "here"}
            assert found.get("offered", 0) == found.get("stored", 0) + found.get("pending", 0)
            assert min(found.values(), default=0) >= 0

        run.offer(3)
        await run.commit(3)
        holds()
        run.offer(10)
        await run.ledger.flush()
        holds()
        await run.commit(4)
        holds()
        run.offer(2)
        await run.commit(8)
        holds()
        await run.ledger.flush()
        holds()
        run.book(15)
        await run.ledger.flush()
        holds()
        assert sums(path, "one") == told(run.books)


async def test_a_run_that_did_not_end_is_told_once_by_the_next(path: Path) -> None:
    clock = Clock()
    async with Run(path, "one", clock) as run:
        run.receive(1)
        clock.now_s = EIGHT + 20
        await run.ledger.flush()
    clock.now_s = EIGHT + 100
    async with Run(path, "two", clock) as run:
        await run.ledger.close()
    clock.now_s = EIGHT + 200
    async with Run(path, "three", clock) as run:
        await run.ledger.close()
    assert [row for row in lifecycle(path) if row[1] == "unclean"] == [("one", "unclean", None)]
    ((at, unknown_s),) = ask(path, "SELECT at, interval_s FROM ledger WHERE counter = 'unclean'")
    assert at == "2026-01-31T08:00:05.000000Z"
    assert unknown_s == pytest.approx(95, abs=0.001)


async def test_a_commit_just_before_the_end_hides_no_unwritten_interval(path: Path) -> None:
    clock = Clock()
    async with Run(path, "one", clock) as run:
        run.receive(50)
        clock.now_s = EIGHT + 55
        await run.ledger.flush()
        run.receive(5)  # never written: killed when the flush of 08:01:00 was due
        clock.now_s = EIGHT + 60.1
        await run.commit(1)
    async with Run(path, "two", Clock(EIGHT + 70)):
        pass
    assert ask(path, "SELECT substr(minute, 15, 2), received, percent FROM completeness") == [
        ("00", 50, None)
    ]


@pytest.mark.parametrize("interval_s", [5.0, 60.0, 3600.0])
async def test_a_run_killed_before_its_first_flush_is_unclean_and_its_minute_unknown(
    path: Path, interval_s: float
) -> None:
    async with killed_at_once(path, "one", Clock(EIGHT + 61), interval_s):
        pass
    async with Run(path, "two", Clock(EIGHT + 125)) as run:
        run.receive(1)
        await run.ledger.close()
    assert ("one", "unclean", None) in lifecycle(path)
    rows = ask(path, "SELECT substr(minute, 15, 2), source, received, percent FROM completeness")
    assert rows == [("01", "hall", 0, None), ("01", "lab", 0, None), ("02", "lab", 1, None)]


async def test_a_run_that_received_nothing_is_complete_in_the_minute_of_its_start(path: Path) -> None:
    async with killed_at_once(path, "one", Clock()) as run:
        await run.ledger.close()
    async with killed_at_once(path, "two", Clock(EIGHT + 1)) as run:
        await run.ledger.close()
    rows = ask(path, "SELECT source, received, lost, percent FROM completeness")
    assert rows == [("hall", 0, 0, 100.0), ("lab", 0, 0, 100.0)]


def killed_at_once(path: Path, run_id: str, clock: Clock, interval_s: float = 5.0) -> Run:
    run = Run(path, run_id, clock, interval_s)
    for source in ("lab", "hall"):
        run.receive(0, source)
    return run


@pytest.mark.usefixtures("a_lock_is_noticed_at_once")
async def test_trouble_loses_nothing_and_no_stop_is_claimed(path: Path) -> None:
    async with Run(path, "one", Clock()) as run:
        run.receive(5)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert not await run.ledger.flush()
            assert "locked" in str(run.ledger.trouble)
            run.receive(2)
            await run.ledger.close()
        assert sums(path, "one") == {}
        assert await run.ledger.flush()
        assert run.ledger.trouble is None
        assert sums(path, "one") == told(run.books)
    assert lifecycle(path) == [("one", "start", 1)]


@pytest.mark.usefixtures("a_lock_is_noticed_at_once")
async def test_a_file_that_cannot_be_written_is_the_environments_fault(path: Path) -> None:
    run = Run(path, "one", Clock())
    await run.db.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(EnvironmentFault, match="ledger"):
            await run.ledger.open()
    await run.db.close()


async def test_numbers_beside_the_books_are_written_without_a_source(path: Path) -> None:
    async with Run(path, "one", Clock()) as run:
        run.beside.append(Entry("", "", "", "dead_letters_not_kept_rate", "", 7))
        await run.ledger.flush()
        assert sums(path, "one") == {("", "", "", "dead_letters_not_kept_rate", ""): 7}
    assert ask(path, "SELECT * FROM ledger_summary") == []
    assert ask(path, "SELECT * FROM completeness") == []


async def test_more_numbers_than_one_statement_takes(path: Path) -> None:
    async with Run(path, "one", Clock()) as run:
        for number in range(1201):
            run.books.source("lab").counters.add("x", number + 1, f"reason {number}")
        await run.ledger.flush()
        assert sums(path, "one") == told(run.books)


async def test_summary_has_one_row_a_run_and_source(path: Path) -> None:
    async with Run(path, "one", Clock()) as run:
        frames = run.books.source("lab")
        frames.received, frames.decoded, frames.rejected["utf8"], frames.dropped["full"] = 100, 90, 3, 2
        frames.counters.add("kernel_dropped", 8)
        records = run.books.pipeline("lab", "main")
        records.taken_in, records.out, records.filtered, records.rejected["step"] = 90, 70, 15, 1
        run.offer(70, "there")
        run.book(60, 6, "there")
        run.books.delivery("lab", "main", "there").dropped["full"] = 1
        run.receive(1, "floor")
        await run.ledger.close()
    assert ask(path, "SELECT * FROM ledger_summary ORDER BY source") == [
        ("one", "floor", 1, 0, 0, 0, 0, 0, 0, 0, 1),
        ("one", "lab", 100, 90, 4, 3, 8, 15, 60, 6, 5 + 4 + 9),
    ]


async def test_each_run_and_sink_has_a_row_whose_sum_holds_without_what_is_only_beside_it(path: Path) -> None:
    async with Run(path, "one", Clock()) as run:
        run.receive(100)
        run.offer(70, "there")
        run.book(60, 6, "there")
        run.books.delivery("lab", "main", "there").dropped["full"] = 1
        run.beside += [Entry("", "", "there", "unconfirmed", "", 8), Entry("", "", "old", "expired", "", 5)]
        await run.ledger.close()
    offered, stored, unmatched, rejected, dropped, pending = 70, 60, 0, 0, 1, 9
    assert ask(
        path,
        "SELECT run_id, sink, offered, stored, replaced, unconfirmed, expired, unmatched, left_out,"
        " rejected, dropped, pending FROM ledger_sinks ORDER BY sink",
    ) == [
        ("one", "old", 0, 0, 0, 0, 5, 0, 0, 0, 0, 0),
        ("one", "there", offered, stored, 6, 8, 0, unmatched, 0, rejected, dropped, pending),
    ]


async def test_completeness_by_minute(path: Path) -> None:
    clock = Clock()
    async with Run(path, "one", clock) as run:
        lab = run.books.source("lab")

        async def minute(received: int, kernel: int, frames: int, deliveries: int) -> None:
            run.receive(received)
            lab.counters.add("kernel_dropped", kernel)
            lab.dropped["full"] += frames
            run.books.delivery("lab", "main", "here").dropped["full"] += deliveries
            clock.now_s += 60
            await run.ledger.flush()

        lab.rejected["utf8"] += 1  # a reject is kept, not lost
        run.books.pipeline("lab", "main").rejected["step"] += 2
        await minute(1000, 0, 0, 0)
        await minute(979, 21, 0, 0)
        await minute(900, 100, 50, 50)
        await minute(1, 0, 5, 5)
        await minute(0, 0, 1, 0)
        await minute(0, 4, 0, 0)
        run.books.delivery("lab", "main", "here").rejected += 5
        await minute(0, 0, 0, 0)
        await run.ledger.close()
    assert ask(
        path, "SELECT substr(minute, 15), source, received, rejected, lost, percent FROM completeness"
    ) == [
        ("00:00.000000Z", "lab", 1000, 3, 0, 100.0),
        ("01:00.000000Z", "lab", 979, 0, 21, 97.9),
        ("02:00.000000Z", "lab", 900, 0, 200, 80.0),
        ("03:00.000000Z", "lab", 1, 0, 10, 0.0),
        ("04:00.000000Z", "lab", 0, 0, 1, None),
        ("05:00.000000Z", "lab", 0, 0, 4, 0.0),
        ("06:00.000000Z", "lab", 0, 5, 0, 100.0),
    ]


async def test_the_minutes_of_an_unclean_end_have_no_percentage(path: Path) -> None:
    clock = Clock()
    async with Run(path, "one", clock) as run:
        for _ in range(3):
            run.receive(60)
            clock.now_s += 60
            await run.ledger.flush()
    clock.now_s = EIGHT + 270  # killed in the third minute or after it, started again in the fifth
    async with Run(path, "two", clock) as run:
        for _ in range(2):
            run.receive(60)
            clock.now_s += 20
            await run.ledger.flush()
        await run.ledger.close()
    assert ask(path, "SELECT substr(minute, 15, 2), received, percent FROM completeness") == [
        ("00", 60, 100.0),
        ("01", 60, 100.0),
        ("02", 60, None),
        ("04", 60, None),
        ("05", 60, 100.0),
    ]


moves = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(0, 9)),
        st.tuples(st.just("commit"), st.integers(1, 9)),
        st.tuples(st.just("fail"), st.integers(1, 9)),
        st.tuples(st.just("book"), st.just(0)),
        st.tuples(st.just("receive"), st.integers(0, 9)),
        st.tuples(st.just("elsewhere"), st.integers(0, 9)),
        st.tuples(st.just("flush"), st.just(0)),
        st.tuples(st.just("both"), st.integers(1, 9)),
        st.tuples(st.just("wait"), st.integers(0, 70)),
    ),
    max_size=20,
)


async def live(run: Run, moves: list[tuple[str, int]]) -> None:
    """One life: the book hears of commits only at `book`, as it does behind a real sink."""
    unheard = 0
    offered = 0
    for move, n in moves:
        some = min(n, offered)
        if move == "offer":
            run.offer(n)
            offered += n
        elif move == "commit" and some:
            await run.commit(some)
            unheard, offered = unheard + some, offered - some
        elif move == "both" and some:  # a flush and a commit at the same time
            await asyncio.gather(run.ledger.flush(), run.commit(some), run.ledger.flush())
            unheard, offered = unheard + some, offered - some
        elif move == "fail":
            await run.commit(n, fail=True)
        elif move == "book":
            run.book(unheard)
            unheard = 0
        elif move == "receive":
            run.receive(n)
            run.books.source("lab").rejected["utf8"] += n // 2
        elif move == "elsewhere":
            run.offer(n, "there")
            run.book(n // 2, 0, "there")
        elif move == "flush":
            await run.ledger.flush()
        else:
            run.clock.now_s += n
    run.book(unheard)


@given(first=moves, second=moves, clean=st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_order_of_flushes_commits_and_ends_leaves_the_ledger_true(
    first: list[tuple[str, int]], second: list[tuple[str, int]], clean: bool
) -> None:
    async def scenario(path: Path) -> None:
        clock = Clock()
        async with Run(path, "one", clock) as run:
            await live(run, first)
            if clean:
                await run.ledger.close()
                assert sums(path, "one") == told(run.books)
            before = run
        clock.now_s += 1
        async with Run(path, "two", clock) as run:
            await live(run, second)
            await run.ledger.close()
            assert sums(path, "two") == told(run.books)
        stored: Counter[str] = Counter()
        for (run_id,) in ask(path, "SELECT DISTINCT run_id FROM ledger"):
            stored[run_id] = sums(path, run_id).get(("lab", "main", "here", "stored", ""), 0)
        assert stored["one"] == before.books.delivery("lab", "main", "here").stored
        if ask(path, "SELECT 1 FROM sqlite_schema WHERE name = 'data'"):
            assert ask(path, "SELECT count(*) FROM data") == [(stored.total(),)]
        assert (("one", "unclean", None) in lifecycle(path)) is not clean
        assert min((n for n in sums(path, "one").values()), default=0) >= 0

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder) / "streamd.db"))


async def test_old_entries_are_added_up_and_every_sum_stays_what_it_was(path: Path) -> None:
    clock = Clock()
    async with Run(path, "old", clock) as run:
        run.receive(7)
        await run.ledger.flush()
        await run.ledger.close()
    async with Run(path, "new", clock) as run:
        run.ledger._max_age_s = 600.0
        for minute in range(30):
            clock.now_s = EIGHT + 60 * minute
            run.receive(10)
            run.books.source("lab").dropped["buffer_full"] += 1
            run.beside = [Entry("", "", "here", "expired", "", minute)]
            await run.ledger.flush()
        minutes_known = ask(path, "SELECT minute, received FROM completeness ORDER BY minute")
        assert [received for _, received in minutes_known] == [10] * 10
        assert minutes_known[0][0] > "2026-01-31T08:18"
        summary = ask(path, "SELECT run_id, received, dropped FROM ledger_summary ORDER BY run_id")
        assert summary == [("new", 300, 30), ("old", 7, 0)]
        assert sums(path, "new").items() >= told(run.books).items()
        assert ask(path, "SELECT sum(n) FROM ledger WHERE counter = 'expired'") == [(29,)]
        assert ask(path, "SELECT count(*) FROM ledger WHERE at < '2026-01-31T08:18' AND at > ''") == [(3,)]
        await run.ledger.close()
    assert [row[:2] for row in lifecycle(path)] == [
        ("new", "start"), ("old", "start"), ("old", "stop"), ("new", "stop"),
    ]  # fmt: skip
    async with Run(path, "next", clock) as run:
        assert ask(path, "SELECT count(*) FROM ledger WHERE counter = 'unclean'") == [(0,)]
        await run.ledger.close()


async def test_what_a_sink_stored_elsewhere_before_it_came_to_this_file_is_told_once(path: Path) -> None:
    async with Run(path, "one", Clock()) as run:
        run.offer(7)
        run.book(7)  # in another file, and no flush since
        run.offer(3)
        await run.commit(3)
        assert await run.ledger.flush()
        assert sums(path, "one")["lab", "main", "here", "stored", ""] == 10
        run.book(3)
        assert await run.ledger.flush()
        assert sums(path, "one") == told(run.books)
        run.offer(2)
        await run.commit(2)
        run.book(2)
        run.ledger.forget_sink("here")
        run.offer(4)
        run.book(4)  # elsewhere again
        assert await run.ledger.flush()
        assert sums(path, "one") == told(run.books)
        await run.ledger.close()


async def test_runs_that_did_not_end_are_counted_at_the_next_start(path: Path) -> None:
    clock = Clock()
    for run_id, unclean in (("one", 0), ("two", 1), ("three", 1)):
        async with Run(path, run_id, clock) as run:
            run.receive(1)
            await run.ledger.flush()
            assert run.ledger.unclean_runs == unclean
    async with Run(path, "four", clock) as run:
        await run.ledger.close()
    async with Run(path, "five", clock) as run:
        assert run.ledger.unclean_runs == 0


async def test_a_change_that_could_not_be_written_is_written_the_next_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Run(path, "one", Clock()) as run:
        run.receive(3)
        write = run.db.execute_many

        async def refuse(*_: Any) -> None:
            raise SinkError("disk_full", "no room")

        monkeypatch.setattr(run.db, "execute_many", refuse)
        assert not await run.ledger.flush()
        assert run.ledger.trouble is not None
        monkeypatch.setattr(run.db, "execute_many", write)
        run.receive(4)
        assert await run.ledger.flush()
        assert run.ledger.trouble is None
    assert sums(path, "one") == told(run.books)


async def test_a_run_that_cannot_write_its_last_numbers_did_not_end_well(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Run(path, "one", Clock()) as run:
        run.receive(3)

        async def refuse(*_: Any) -> None:
            raise SinkError("disk_full", "no room")

        monkeypatch.setattr(run.db, "execute_many", refuse)
        await run.ledger.close()
    assert ("one", "stop", 1) not in lifecycle(path)
    async with Run(path, "two", Clock()) as run:
        assert run.ledger.unclean_runs == 1


async def test_a_run_that_another_took_for_dead_ends_well_all_the_same(path: Path) -> None:
    async with Run(path, "one", Clock()) as one, Run(path, "two", Clock()) as two:
        assert ("one", "unclean", None) in lifecycle(path)
        await one.ledger.close()
        await two.ledger.close()
    assert sorted(lifecycle(path)) == sorted(
        (run_id, counter, 1) for run_id in ("one", "two") for counter in ("start", "stop")
    )


async def test_a_sink_that_is_gone_takes_only_its_own_numbers_along(path: Path) -> None:
    async with Run(path, "one", Clock()) as run:
        keys = [Key("lab", "main", sink, "stored", "") for sink in ("here", "near")]
        run.ledger._before = dict.fromkeys(keys, 3)
        run.ledger._in_commit = {key[:3] for key in keys}
        run.ledger.forget_sink("near")
        assert run.ledger._before == {keys[0]: 3}
        assert run.ledger._in_commit == {("lab", "main", "here")}


@pytest.mark.parametrize(
    ("interval_s", "at_s", "start_s", "due_s"),
    [
        (5.0, 0.0, 0.0, 5.0), (5.0, 4.0, 0.0, 1.0), (5.0, 59.0, 55.0, 1.0), (5.0, 60.0, 60.0, 5.0),
        (7.0, 55.0, 49.0, 1.0), (7.0, 58.0, 56.0, 2.0), (7.0, 61.0, 60.0, 6.0),
        (60.0, 59.0, 0.0, 1.0), (90.0, 100.0, 90.0, 80.0), (5.0, 4.9999, 0.0, 0.05),
    ],
)  # fmt: skip
async def test_intervals_up_to_a_minute_begin_anew_with_each_and_the_next_flush_is_never_at_once(
    path: Path, interval_s: float, at_s: float, start_s: float, due_s: float
) -> None:
    base = EIGHT - EIGHT % 3600 if interval_s <= 60 else math.floor(EIGHT / interval_s) * interval_s
    ledger = Run(path, "one", Clock(), interval_s).ledger
    assert ledger.interval_start_s(base + at_s) == pytest.approx(base + start_s)
    assert ledger.due_in_s(base + at_s) == pytest.approx(due_s, abs=1e-5)


@pytest.mark.parametrize("n", [2**63, 10**30])
async def test_a_number_that_no_table_can_hold_is_trouble_of_the_ledger_and_not_its_end(
    path: Path, n: int
) -> None:
    async with Run(path, "r", Clock()) as run:
        run.receive(3)
        run.books.step("main", "odd[0]")["counted", "huge"] = n
        assert not await run.ledger.flush()
        assert "too large" in str(run.ledger.trouble)
        run.books.step("main", "odd[0]")["counted", "huge"] = 7
        assert await run.ledger.flush()
        assert run.ledger.trouble is None
        rows = await run.db.fetch("SELECT counter, sum(n) FROM ledger GROUP BY 1 ORDER BY 1")
        assert {("counted", 7), ("received", 3)} <= set(rows)


async def test_runs_that_have_counted_the_most_can_still_be_added_up(path: Path) -> None:
    for run_id in "abc":
        async with Run(path, run_id, Clock()) as run:
            for _ in range(3):
                run.books.source("lab").counters.add("kernel_dropped", 10**30)
                assert await run.ledger.flush()
            await run.ledger.close()
            [(lost,)] = await run.db.fetch("SELECT lost FROM completeness WHERE source = 'lab'")
            assert lost >= 2**60
