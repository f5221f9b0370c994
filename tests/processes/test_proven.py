"""After a kill the ledger shows what was stored behind the last report."""

import sqlite3
from pathlib import Path

from streamd.core.books import Books
from streamd.processes.proven import add_proven, add_stored

ROWS = ("floor", "main", "rows")
COPY = ("floor", "main", "copy")


def reported(received: int, handed: int, stored: int) -> Books:
    """`received` frames, of which `handed` records were offered to two sinks, which have stored `stored`."""
    books = Books()
    frames = books.source("floor")
    frames.received, frames.decoded = received, handed
    records = books.pipeline("floor", "main")
    records.taken_in = records.out = handed
    for key in (ROWS, COPY):
        books.delivery(*key).offered = handed
        books.delivery(*key).stored = stored
    return books


def lefts(books: Books) -> list[int]:
    return [book.left for book in books.every()]


def test_records_stored_behind_the_report_are_not_lost() -> None:
    books = reported(10, 8, 2)
    add_stored(books, {ROWS: 7})
    assert books.delivery(*ROWS).stored == 7
    assert books.delivery(*ROWS).left == 1
    assert books.source("floor").received == 10
    assert lefts(books) == [2, 0, 1, 6]


def test_records_received_behind_the_report_are_added_in_every_book() -> None:
    books = reported(10, 8, 2)
    add_stored(books, {ROWS: 13})
    assert books.delivery(*ROWS).stored == books.delivery(*ROWS).offered == 13
    assert books.delivery(*COPY).offered == 13
    assert books.pipeline("floor", "main").out == 13
    assert books.source("floor").received == 13, "two of them waited to be decoded, three came later"
    assert lefts(books) == [0, 0, 0, 11]
    assert [books.owed(book) - book.offered for book in books.deliveries.values()] == [0, 0]


def test_an_older_number_in_the_ledger_changes_nothing() -> None:
    books = reported(10, 8, 6)
    add_stored(books, {ROWS: 3})
    assert books.delivery(*ROWS).stored == 6
    assert lefts(books) == [2, 0, 2, 2]


def test_the_numbers_are_read_from_the_rows_of_the_run(tmp_path: Path) -> None:
    path = tmp_path / "streamd.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE ledger (run_id, source, pipeline, sink, counter, n)")
    connection.executemany(
        "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?)",
        [("a-1", *ROWS, "stored", 3), ("a-1", *ROWS, "stored", 4), ("a-1", *ROWS, "offered", 50),
         ("a-0", *ROWS, "stored", 90), ("a-1", "", "", "", "start", 1)],
    )  # fmt: skip
    connection.commit()
    connection.close()
    books = reported(10, 8, 2)
    add_proven(books, path, "a-1")
    assert books.delivery(*ROWS).stored == 7


def test_without_a_ledger_the_books_stay_as_reported(tmp_path: Path) -> None:
    books = reported(10, 8, 2)
    add_proven(books, tmp_path / "missing.db", "a-1")
    (tmp_path / "other.db").write_text("no database at all, but long enough to be taken for one")
    add_proven(books, tmp_path / "other.db", "a-1")
    assert lefts(books) == [2, 0, 6, 6]
