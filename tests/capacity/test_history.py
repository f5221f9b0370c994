"""Loads and speed out of a ledger that its own code has written."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from streamd.capacity.history import SQL, figures_of, intervals_of, length_s, loads_of
from streamd.core.books import Books
from streamd.core.now import Now
from streamd.ledger.ledger import Ledger
from streamd.sqlite.database import Database
from tests.capacity.test_configured import configuration

BEGIN_S = 1_769_846_400.0
"""2026-01-31T08:00:00Z."""


class Clock:
    now = Now(BEGIN_S + 0.5, 0.5)

    def __call__(self) -> Now:
        return self.now


async def write(path: Path, *seconds: tuple[float, int, int, int]) -> None:
    """A ledger of the source udp with an interval of 5 s: (time, received, decoded, dropped) until then."""
    books, clock = Books(), Clock()
    db = Database(path)
    await db.open()
    ledger = Ledger(books, db, "run", 5.0, clock)
    book = books.source("udp")
    await ledger.open()
    for at_s, received, decoded, dropped in seconds:
        clock.now = Now(BEGIN_S + at_s, at_s)
        book.received, book.decoded = received, decoded
        book.dropped["buffer_full"] = dropped
        books.pipeline("udp", "main").taken_in = 2 * decoded
        await ledger.flush()
    await ledger.close()
    await db.close()


Found = list[tuple[str, float, float, str, int, int, int, int]]


def rows(path: Path, since: str = "2026-01-31T00:00:00Z") -> Found:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(SQL, (since,)).fetchall()


def test_the_arrivals_of_each_interval_are_a_load(tmp_path: Path) -> None:
    asyncio.run(write(tmp_path / "l.db", (5, 50, 50, 0), (10, 250, 250, 0), (30, 300, 300, 0)))
    found = intervals_of(rows(tmp_path / "l.db"))
    assert [(one.at_s, one.seconds, one.arrived) for one in found if one.arrived] == [
        (0, 5, 50), (5, 5, 200), (20, 5, 50),
    ]  # fmt: skip
    assert length_s(found) == 25
    assert loads_of(found)["udp"] == [(5, 10), (5, 40), (10, 0), (5, 10), (1, 0)]
    assert rows(tmp_path / "l.db", "2027-01-01T00:00:00Z") == []
    assert length_s([]) == 0


def test_an_interval_that_lost_frames_shows_the_capacity(tmp_path: Path) -> None:
    asyncio.run(write(tmp_path / "l.db", (5, 500, 500, 0), (10, 3000, 1500, 900), (15, 3100, 2000, 900)))
    found = intervals_of(rows(tmp_path / "l.db"))
    figures = figures_of(found, configuration(tmp_path), None)
    (line,) = figures.lines
    assert line.name == "main, copy"
    assert line.process_s == pytest.approx(1 / 200)
    assert not line.at_least
    assert line.records_per_frame == pytest.approx(1.0)
    assert figures.sources[0].rate_per_s == pytest.approx(3100 / 16)
    assert "the most that left in an interval: full buffers lost some in it" in figures.assumed[0]


def test_a_history_without_loss_shows_what_it_can_do_at_least(tmp_path: Path) -> None:
    asyncio.run(write(tmp_path / "l.db", (5, 500, 500, 0), (10, 2000, 2000, 0)))
    figures = figures_of(intervals_of(rows(tmp_path / "l.db")), configuration(tmp_path), 99.0)
    (line,) = figures.lines
    assert line.process_s == pytest.approx(1 / 300)
    assert line.at_least
    assert figures.sources[0].buffer.item_bytes == 99
    assert "at least 300 frames/s" in figures.assumed[0]


def test_a_loss_in_a_slow_interval_is_not_the_capacity(tmp_path: Path) -> None:
    asyncio.run(write(tmp_path / "l.db", (5, 1500, 1500, 0), (10, 3000, 2000, 900)))
    (line,) = figures_of(intervals_of(rows(tmp_path / "l.db")), configuration(tmp_path), None).lines
    assert line.process_s == pytest.approx(1 / 300)
    assert line.at_least


def test_a_history_without_frames_shows_nothing(tmp_path: Path) -> None:
    asyncio.run(write(tmp_path / "l.db", (5, 0, 0, 0)))
    assert figures_of(intervals_of(rows(tmp_path / "l.db")), configuration(tmp_path), None).lines == ()


def test_replays_and_marks_are_no_arrivals(tmp_path: Path) -> None:
    asyncio.run(write(tmp_path / "l.db", (5, 50, 50, 0)))
    with closing(sqlite3.connect(tmp_path / "l.db")) as connection, connection:
        row = "INSERT INTO ledger VALUES (?, 'again', ?, ?, '', '', ?, ?, ?)"
        connection.execute(row, ("2026-01-31T08:00:00.000000Z", 0, "", "start", "replay", 1))
        connection.execute(row, ("2026-01-31T08:00:00.000000Z", 5, "udp", "received", "", 999))
    assert sum(one.arrived for one in intervals_of(rows(tmp_path / "l.db"))) == 50


def test_a_minute_cuts_an_interval_short() -> None:
    at = ["2026-01-31T08:00:56.000000Z", "2026-01-31T08:01:00.000000Z"]
    made = [(text, BEGIN_S + 56 + 4 * n, 7.0, "udp", 40, 40, 0, 40) for n, text in enumerate(at)]
    assert [one.seconds for one in intervals_of(made)] == [4, 7]
    assert loads_of(intervals_of(made))["udp"] == [(4, 10), (7, pytest.approx(40 / 7)), (1, 0)]
