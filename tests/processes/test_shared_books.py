"""Books in shared memory count as plain ones do, and are known after the end of their process."""

import os
from collections.abc import Iterator

import pytest

from streamd.core.books import Books
from streamd.core.sums import Entry
from streamd.processes import shared_numbers
from streamd.processes.shared_books import SharedBooks, take_over
from streamd.processes.shared_numbers import SharedNumbers
from streamd.processes.snapshot import merged_books

ROWS = ("floor", "main", "rows")


@pytest.fixture
def numbers() -> Iterator[SharedNumbers]:
    made = SharedNumbers()
    yield made
    os.close(made.fd)  # the books keep the memory


def work(books: Books) -> None:
    """Ten frames: two are dropped, one is rejected, one waits; of the others a step filters one."""
    frames, records, delivery = books.source("floor"), books.pipeline("floor", "main"), books.delivery(*ROWS)
    frames.received += 10
    frames.dropped["buffer_full"] += 2
    frames.rejected["json:syntax"] += 1
    frames.decoded += 6
    records.taken_in += 6
    records.filtered += 1
    records.out += 5
    delivery.offered += 5
    delivery.stored += 3
    delivery.dropped.update(["buffer_full"])


def entries(books: Books) -> list[Entry]:
    return sorted(entry for entry in books.entries() if entry.n)


def test_shared_books_count_as_plain_ones_do(numbers: SharedNumbers) -> None:
    plain, shared = Books(), SharedBooks(numbers)
    for books in (plain, shared):
        work(books)
        work(books)
    assert entries(shared) == entries(plain) == entries(merged_books([shared]))
    assert [book.left for book in shared.every()] == [2, 0, 2]
    assert shared.source("floor").numbers() == plain.source("floor").numbers()


def test_what_was_counted_after_the_last_report_is_taken_over(numbers: SharedNumbers) -> None:
    books = SharedBooks(numbers)
    work(books)
    books.source("floor").counters.add("connections", 4)
    report = merged_books([books])
    work(books)
    books.source("floor").dropped["rate_limited"] += 1
    books.source("lab").received += 7
    books.source("floor").received += 1
    take_over(report, numbers)
    assert entries(report) == entries(books)
    assert report.source("floor").counters.numbers() == {"connections": 4}
    assert [type(book) for book in report.every()] == [type(book) for book in Books.merge([books]).every()]


def test_records_that_were_not_offered_any_more_are_under_way(numbers: SharedNumbers) -> None:
    books = SharedBooks(numbers)
    work(books)
    report = merged_books([books])
    books.pipeline("floor", "main").taken_in += 4
    books.pipeline("floor", "main").out += 4  # killed between the two
    take_over(report, numbers)
    assert report.delivery(*ROWS).offered == 9
    assert report.delivery(*ROWS).left == 5


def test_a_sink_that_got_nothing_before_owes_nothing(numbers: SharedNumbers) -> None:
    books = SharedBooks(numbers)
    work(books)
    report = merged_books([books])
    books.delivery("floor", "main", "new").offered += 2
    take_over(report, numbers)
    assert report.delivery("floor", "main", "new").offered == 2


def test_without_room_for_all_numbers_the_report_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_numbers, "CELLS", 4)
    numbers = SharedNumbers()
    plain, books = Books(), SharedBooks(numbers)
    work(plain)
    work(books)
    assert entries(books) == entries(plain)
    report = merged_books([books])
    work(books)
    take_over(report, numbers)
    assert entries(report) == entries(plain)
    os.close(numbers.fd)
