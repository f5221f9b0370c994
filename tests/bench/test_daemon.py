from collections import Counter

import pytest

from streamd.bench.daemon import StoppedDaemon
from streamd.bench.row import BenchError


def stopped(rows: int = 3, last_seq: int = 3, **counts: int) -> StoppedDaemon:
    return StoppedDaemon(rows, rows, 1, last_seq, Counter({("tcp", name): n for name, n in counts.items()}))


def test_books_that_hold() -> None:
    found = stopped(received=5, decoded=5, offered=4, stored=3, dropped=1, rejected=1)
    found.check()
    assert found.total("dropped") == 1
    stopped(received=5, stored=5, expired=2).check()


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"received": 4, "stored": 3}, "4 received, 3 with a fate"),
        ({"received": 2, "stored": 2}, "2 stored and not expired, the table has 3"),
        ({"received": 4, "stored": 4, "expired": 2}, "2 stored and not expired, the table has 3"),
        ({"received": 3, "stored": 3, "dropped": 1}, "3 received, 4 with a fate"),
    ],
)
def test_books_that_do_not_hold_are_an_error(counts: dict[str, int], said: str) -> None:
    with pytest.raises(BenchError, match=said):
        stopped(**counts).check()


@pytest.mark.parametrize("found", [stopped(rows=2), stopped(last_seq=4), stopped(rows=4)])
def test_a_missing_or_doubled_record_is_an_error(found: StoppedDaemon) -> None:
    stopped().check_complete(3)
    with pytest.raises(BenchError, match="3 sent; rows"):
        found.check_complete(3)


def test_lines_that_were_sent_twice_are_there_twice() -> None:
    StoppedDaemon(6, 3, 1, 3, Counter()).check_complete(3, times=2)
    with pytest.raises(BenchError, match="3 sent 2 times; rows"):
        stopped().check_complete(3, times=2)
