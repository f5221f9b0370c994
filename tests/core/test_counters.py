"""What components count beside the sums."""

import contextlib
import threading

import pytest

from streamd.core.books import Books
from streamd.core.counters import MOST, Counters
from streamd.core.sums import Entry


def test_numbers_add_up_by_name_and_reason_and_what_was_never_counted_is_zero() -> None:
    counters = Counters()
    counters.add("refused", 3, "limit")
    counters.add("refused", 4, "tls")
    counters.add("truncated")
    counters.add("truncated", 2)
    assert counters["truncated", ""] == 3
    assert counters["late", ""] == 0
    assert ("late", "") not in counters
    assert counters.numbers() == {"refused": {"limit": 3, "tls": 4}, "truncated": 3}
    assert counters.totals() == {"refused": 7, "truncated": 3}


def test_a_name_with_and_without_a_reason_keeps_both() -> None:
    counters = Counters()
    counters.add("refused")
    counters.add("refused", 2, "limit")
    assert counters.numbers() == {"refused": {"": 1, "limit": 2}}


@pytest.mark.parametrize("n", [2**60, 2**63, 10**30])
def test_a_number_stops_at_the_largest_that_can_be_stored(n: int) -> None:
    counters, others = Counters(), Counters()
    counters.add("counted", 5)
    counters.add("counted", n)
    assert counters["counted", ""] == MOST
    counters.add("counted")
    others.add("counted", 3)
    others.take(counters)
    assert counters["counted", ""] == others["counted", ""] == MOST < 2**63
    counters.add("fewer", MOST - 1)
    assert counters["fewer", ""] == MOST - 1


def test_a_gauge_has_its_newest_value_and_is_in_no_sum() -> None:
    counters = Counters()
    counters.set_gauge("size", 2.5)
    for value in (0.5, 0.25):
        counters.set_gauge("progressive", value, "Accuracy")
    counters.set_gauge("progressive", 1.5, "LogLoss")
    assert counters.gauge_values() == {"size": 2.5, "progressive": {"Accuracy": 0.25, "LogLoss": 1.5}}
    assert counters.numbers() == counters.totals() == {}


def test_threads_that_count_at_the_same_time_lose_nothing() -> None:
    counters = Counters()

    def count() -> None:
        for _ in range(5000):
            counters.add("seen")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters["seen", ""] == 20_000


def test_a_number_that_two_threads_count_first_at_the_same_time_has_both() -> None:
    class Slow(Counters):
        def __missing__(self, key: tuple[str, str]) -> int:
            with contextlib.suppress(threading.BrokenBarrierError):  # the other one may not look too
                both.wait(0.2)
            return super().__missing__(key)

    both = threading.Barrier(2)
    counters = Slow()
    threads = [threading.Thread(target=counters.add, args=("seen", n)) for n in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters["seen", ""] == 5


def test_a_name_that_was_not_declared_fails_a_test() -> None:
    counters = Counters()
    counters.declare({"late": "records behind the window"}, {"early": "records before it"})
    counters.add("late")
    counters.add("early")
    with pytest.raises(AssertionError, match="'laet' is not declared"):
        counters.add("laet")
    assert counters.numbers() == {"late": 1, "early": 1}


def test_what_steps_and_sinks_count_is_an_entry_of_the_books_with_the_step_as_its_reason() -> None:
    books = Books()
    books.step("main", "window[0]").add("late", 2)
    books.step("main", "window[0]").add("full", 1, "keys")
    books.step("main", "window[1]").add("late", 5)
    books.sink("db").add("expired", 7)
    books.sink("db").add("retried", 1, "locked")
    assert list(books.entries()) == [
        Entry("", "main", "", "late", "window[0]", 2),
        Entry("", "main", "", "full", "window[0]:keys", 1),
        Entry("", "main", "", "late", "window[1]", 5),
        Entry("", "", "db", "expired", "", 7),
        Entry("", "", "db", "retried", "locked", 1),
    ]
    assert books.step("main", "window[0]") is books.step("main", "window[0]")


def test_counters_of_several_processes_add_up() -> None:
    one, other = Books(), Books()
    one.source("lab").counters.add("truncated", 1)
    other.source("lab").counters.add("truncated", 2)
    one.step("main", "window[0]").add("late", 3)
    other.step("main", "window[0]").add("late", 4)
    one.sink("db").add("expired", 5)
    one.sink("db").add("retried", 2, "locked")
    other.sink("db").add("retried", 1, "full")
    merged = Books.merge([one, other])
    assert merged.source("lab").counters == {("truncated", ""): 3}
    assert merged.step("main", "window[0]") == {("late", ""): 7}
    assert merged.sink("db") == {("expired", ""): 5, ("retried", "locked"): 2, ("retried", "full"): 1}
