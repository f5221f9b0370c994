import pytest

from streamd.core.books import Books
from streamd.service.status_line import DiskOutlook, short, status_line

DAY_S = 86400


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0 k"),
        (999_999, "999.9 k"),
        (41_234_567, "41.2 M"),
        (7_000_000_000, "7.0 G"),
        (12_345_000_000_000_000, "12345.0 T"),
    ],
)
def test_numbers_are_short_and_never_more_than_there_is(n: int, expected: str) -> None:
    assert short(n) == expected


def test_the_line_says_what_came_and_every_loss() -> None:
    books = Books()
    for source, received in (("lab", 41_000_000), ("floor", 234_567)):
        books.source(source).received = received
    books.source("lab").dropped["buffer_full"] += 2
    books.source("lab").counters.add("kernel_dropped", 1500)
    books.pipeline("lab", "main").dropped["shutdown"] += 3
    books.delivery("lab", "main", "db").dropped["closed"] += 5
    assert status_line(books, 12.3) == "received 41.2 M, lost 10, kernel 1.5 k, disk 12 d left"


@pytest.mark.parametrize(
    ("days", "expected"), [(None, ""), (5000.0, ""), (0.04, ", disk 0.0 d left"), (9.94, ", disk 9.9 d left")]
)
def test_the_disk_is_told_where_it_matters(days: float | None, expected: str) -> None:
    assert status_line(Books(), days) == f"received 0, lost 0, kernel 0{expected}"


def test_the_disk_is_full_when_the_rest_is_written_as_fast_as_before() -> None:
    disk = DiskOutlook()
    disk.observe(1_001_000, 0)
    disk.observe(1_000_000, 864)
    assert disk.days_left() == pytest.approx(10.0)


def test_nothing_is_known_in_the_first_minute() -> None:
    disk = DiskOutlook()
    assert disk.days_left() is None
    disk.observe(2_000_000, 100)
    disk.observe(1_000_000, 159)
    assert disk.days_left() is None


def test_a_disk_that_does_not_fill_has_no_end() -> None:
    disk = DiskOutlook()
    disk.observe(1_000_000, 0)
    disk.observe(1_000_000, 600)
    assert disk.days_left() is None


def test_only_the_last_hour_counts() -> None:
    disk = DiskOutlook()
    for second in range(0, 3 * DAY_S, 60):
        disk.observe(10_000_000_000 - 10_000 * min(second, 2 * DAY_S), second)
    assert disk.days_left() is None, "it filled long ago"
