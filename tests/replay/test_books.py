import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streamd.core.books import Books
from streamd.core.now import Now
from streamd.ledger.ledger import Ledger
from streamd.replay.books import ReplayBooks, ReplayLedger
from streamd.sqlite.database import Database

EIGHT = 1_769_846_400.0
"""2026-01-31T08:00:00Z"""


async def live(
    path: Path, run_id: str, now_s: float, *, replays: bool, killed: bool = False, received: int = 0
) -> None:
    """One run of a daemon or of a replay, from its start to its end or its kill."""
    books = ReplayBooks() if replays else Books()
    db = Database(path)
    await db.open()
    cls = ReplayLedger if replays else Ledger
    ledger = cls(books, db, run_id, 5.0, lambda: Now(now_s, now_s))
    await ledger.open()
    books.source("lab").received += received
    await ledger.flush()
    if not killed:
        await ledger.close()
    await db.close()


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


UNCLEAN = "SELECT run_id, reason, interval_s FROM ledger WHERE counter = 'unclean' ORDER BY run_id"


@pytest.mark.parametrize("replays", [True, False], ids=["replay", "daemon"])
async def test_a_killed_replay_is_told_once_by_the_next_start(replays: bool, tmp_path: Path) -> None:
    path = tmp_path / "streamd.db"
    await live(path, "killed", EIGHT, replays=True, killed=True, received=3)
    await live(path, "next", EIGHT + 100, replays=replays)
    await live(path, "third", EIGHT + 200, replays=replays)
    assert ask(path, UNCLEAN) == [("killed", "replay", pytest.approx(105, abs=0.001))]


async def test_a_replay_takes_no_daemon_for_dead(tmp_path: Path) -> None:
    path = tmp_path / "streamd.db"
    await live(path, "daemon", EIGHT, replays=False, killed=True)
    await live(path, "replay", EIGHT + 10, replays=True)
    assert ask(path, UNCLEAN) == []
    await live(path, "next", EIGHT + 20, replays=False)
    assert [row[:2] for row in ask(path, UNCLEAN)] == [("daemon", "")]


async def test_a_killed_replay_takes_no_minute_its_percentage(tmp_path: Path) -> None:
    path = tmp_path / "streamd.db"
    await live(path, "killed", EIGHT, replays=True, killed=True)
    await live(path, "daemon", EIGHT + 1, replays=False, received=7)
    assert [row[0] for row in ask(path, UNCLEAN)] == ["killed"]
    assert ask(path, "SELECT source, received, percent FROM completeness") == [("lab", 7, 100.0)]


async def test_what_is_replayed_was_received_once_and_is_in_no_minute_twice(tmp_path: Path) -> None:
    path = tmp_path / "streamd.db"
    await live(path, "daemon", EIGHT, replays=False, received=7)
    await live(path, "replay", EIGHT + 1, replays=True, received=3)
    await live(path, "killed", EIGHT + 2, replays=True, killed=True, received=2)
    assert ask(path, "SELECT source, received FROM completeness") == [("lab", 7)]
    received = "SELECT run_id, sum(n) FROM ledger WHERE counter = 'received' GROUP BY 1 ORDER BY 1"
    assert ask(path, received) == [("daemon", 7), ("killed", 2), ("replay", 3)], "the ledger has them all"
