import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streamd.core.books import Books
from streamd.core.now import Now
from streamd.ledger.ledger import Ledger
from streamd.replay.books import ReplayLedger
from streamd.sqlite.database import Database

EIGHT = 1_769_846_400.0
"""2026-01-31T08:00:00Z"""
KEY = ("lab", "main", "temp_range", "temp")


class Run:
    """One life of a daemon with its books and ledger, and a clock that is moved by hand."""

    def __init__(self, path: Path, run_id: str = "r1", at_s: float = EIGHT, cls: Any = Ledger) -> None:
        self.now_s = at_s
        self.books = Books()
        self.db = Database(path)
        self.ledger: Ledger = cls(self.books, self.db, run_id, 5.0, lambda: Now(self.now_s, self.now_s))

    async def begin(self) -> "Run":
        await self.db.open()
        await self.ledger.open()
        return self

    def check(self, checked: int, failed: int = 0, fixed: int = 0, peer: str = "10.0.0.1:1") -> None:
        count = self.books.quality.of(*KEY)
        count.checked += checked
        count.failed += failed
        count.fixed += fixed
        count.sent_by([peer] * failed)

    async def after(self, s: float) -> None:
        self.now_s += s
        assert await self.ledger.flush()

    async def end(self) -> None:
        await self.ledger.close()
        await self.db.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "streamd.db"


@pytest.fixture
async def run(path: Path) -> AsyncIterator[Run]:
    run = await Run(path).begin()
    yield run
    await run.end()


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


async def test_a_minute_has_one_row_for_each_rule_and_field(path: Path, run: Run) -> None:
    run.check(10, 2, 1)
    await run.after(5)
    run.check(5, 1)
    await run.after(55)
    run.check(7)
    await run.after(5)
    assert ask(path, "SELECT * FROM quality") == [
        ("2026-01-31T08:00:00.000000Z", *KEY, 15, 3, 1, "10.0.0.1", 3, None, None),
        ("2026-01-31T08:01:00.000000Z", *KEY, 7, 0, 0, None, 0, None, None),
    ]


async def test_the_worst_sender_is_that_of_the_whole_minute(path: Path, run: Run) -> None:
    for peer, failed in (("10.0.0.1:1", 3), ("10.0.0.2:1", 2), ("10.0.0.2:2", 2)):
        run.check(9, failed, peer=peer)
        await run.after(5)
    assert ask(path, "SELECT worst_sender, worst_failed FROM quality") == [("10.0.0.2", 4)]


async def test_a_restart_in_a_minute_adds_to_its_row(path: Path) -> None:
    for run_id, failed, letter in (("r1", 5, 3), ("r2", 1, None)):
        run = await Run(path, run_id, EIGHT if run_id == "r1" else EIGHT + 20).begin()
        run.check(10, failed, peer=f"10.0.0.{failed}:1")
        run.books.quality.of(*KEY).letter = letter
        run.books.quality.of(*KEY).note_lag(float(failed))
        run.now_s += 5
        await run.end()
    assert ask(
        path, "SELECT checked, failed, worst_sender, worst_failed, dead_letter, lag_s FROM quality"
    ) == [(20, 6, "10.0.0.5", 5, 3, 5.0)]
    assert ask(path, "SELECT complete FROM quality_now") == [(1,)]


async def test_trouble_with_the_file_loses_no_count(path: Path, run: Run) -> None:
    run.check(10, 2)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("ALTER TABLE quality RENAME TO away")
        run.now_s += 5
        assert not await run.ledger.flush()
        assert ask(path, "SELECT count(*) FROM ledger WHERE counter = 'received'") == [(0,)]
        other.execute("ALTER TABLE away RENAME TO quality")
    run.check(1, 1)
    await run.after(5)
    assert ask(path, "SELECT checked, failed, worst_failed FROM quality") == [(11, 3, 3)]


async def test_a_run_that_was_killed_makes_its_minutes_incomplete(path: Path) -> None:
    run = await Run(path).begin()
    run.check(10)
    await run.after(5)
    run.check(4)  # not written
    await run.db.close()
    again = await Run(path, "r2", EIGHT + 30).begin()
    again.check(1)
    await again.after(5)
    assert ask(path, "SELECT checked, complete FROM quality_now") == [(11, 0)]
    await again.after(20 * 60)
    again.check(3)
    await again.after(5)
    assert ask(path, "SELECT checked, complete FROM quality_now") == [(3, 1)]
    await again.end()


async def test_a_replay_does_not_count_again(path: Path) -> None:
    run = await Run(path, cls=ReplayLedger).begin()
    run.check(10)
    await run.after(5)
    await run.end()
    assert ask(path, "SELECT * FROM quality") == []


async def test_the_view_shows_failures_of_the_last_quarter_of_an_hour_first(path: Path, run: Run) -> None:
    run.check(100, 100)
    await run.after(5)  # too old for the view
    run.now_s = run.ledger._flushed_wall_s = EIGHT + 1200
    for rule, failed, letter in (("fine", 0, None), ("few", 1, 7), ("many", 5, 9)):
        count = run.books.quality.of("lab", "main", rule, "temp")
        count.checked, count.failed, count.letter = 10, failed, letter
        count.sent_by(["10.0.0.9:1"] * failed)
    await run.after(5)
    await run.after(55)
    for rule in ("fine", "few", "many"):
        run.books.quality.of("lab", "main", rule, "temp").checked += 10
    await run.after(5)
    columns = "rule, checked, failed, percent, percent_last_minute, worst_sender, dead_letter, since < until"
    assert ask(path, f"SELECT {columns} FROM quality_now") == [  # noqa: S608 - a test's own names
        ("many", 20, 5, 25.0, 0.0, "10.0.0.9", 9, 1),
        ("few", 20, 1, 5.0, 0.0, "10.0.0.9", 7, 1),
        ("fine", 20, 0, 0.0, 0.0, None, None, 1),
    ]


async def test_old_minutes_are_added_up_with_the_ledger(path: Path) -> None:
    run = Run(path)
    run.ledger._max_age_s = 300.0
    await run.begin()
    for _ in range(3):
        run.books.source("lab").received += 1
        run.check(10, 1)
        await run.after(60)
    await run.after(600)
    run.books.source("lab").received += 1
    run.check(1)
    await run.after(5)
    assert ask(path, "SELECT minute = '', checked, failed, worst_sender FROM quality ORDER BY 1 DESC") == [
        (1, 30, 3, None),
        (0, 1, 0, None),
    ]
    await run.end()


async def test_names_with_half_a_surrogate_pair_are_written(path: Path, run: Run) -> None:
    count = run.books.quality.of("lab", "", "schema:null", "\ud800")
    count.checked, count.senders = 1, Counter({"/a\udcff": 1})
    await run.after(5)
    assert ask(path, "SELECT field, worst_sender FROM quality") == [("\\ud800", "/a\\udcff")]
