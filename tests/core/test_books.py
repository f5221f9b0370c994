"""Each book's sum, with a number of its own for each term, so that none can stand for another."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.closing_books import differences
from streamd.core.books import Books, DeliveryBook, FrameBook, RecordBook
from streamd.core.sums import Entry


def frame_book() -> FrameBook:
    book = FrameBook("lab")
    book.received = 1000
    book.decoded = 500
    book.rejected.update({"json:syntax": 100, "utf8": 50})
    book.dropped.update({"buffer_full": 20, "shutdown": 5})
    return book


def record_book() -> RecordBook:
    book = RecordBook("lab", "main")
    book.taken_in = 10_000
    book.emitted = 2000
    book.out = 5000
    book.filtered = 1000
    book.absorbed = 300
    book.rejected.update({"decode": 40, "step[0]": 30})
    book.dropped.update({"shutdown": 6, "drained": 1})
    return book


def delivery_book() -> DeliveryBook:
    book = DeliveryBook("lab", "main", "db")
    book.offered = 10_000
    book.stored = 5000
    book.replaced = 700
    book.unmatched = 1000
    book.rejected = 200
    book.dropped.update({"buffer_full": 30, "shutdown": 4})
    return book


def test_frames_that_are_neither_decoded_nor_rejected_nor_dropped_wait() -> None:
    assert frame_book().waiting == 1000 - 500 - 150 - 25
    assert FrameBook("lab").waiting == 0


def test_records_that_have_no_fate_yet_are_in_flight() -> None:
    assert record_book().in_flight == 10_000 + 2000 - 5000 - 1000 - 300 - 70 - 7
    assert RecordBook("lab", "main").in_flight == 0


def test_records_a_sink_has_not_answered_for_are_pending_and_replaced_ones_are_stored() -> None:
    assert delivery_book().pending == 10_000 - 5000 - 1000 - 200 - 34
    assert DeliveryBook("lab", "main", "db").pending == 0


@pytest.mark.parametrize("count", [1, -1])
def test_a_count_that_is_wrong_by_one_shows(count: int) -> None:
    book = frame_book()
    book.decoded = 825 + count
    assert book.waiting == -count


def test_counters_add_up_by_counter_and_reason_and_are_no_part_of_the_sum() -> None:
    book = frame_book()
    before = book.waiting
    book.counters.add("truncated")
    book.counters.add("truncated", 2)
    book.counters.add("connections_refused", 3, "limit")
    book.counters.add("connections_refused", 4, "tls")
    assert book.counters == {
        ("truncated", ""): 3,
        ("connections_refused", "limit"): 3,
        ("connections_refused", "tls"): 4,
    }
    assert book.waiting == before


def test_every_number_of_the_books_is_an_entry_under_its_own_names() -> None:
    books = Books()
    frames = books.source("lab")
    frames.received, frames.decoded = 9, 4
    frames.rejected["utf8"] = 2
    frames.dropped["shutdown"] = 1
    frames.counters.add("truncated", 7)
    frames.counters.add("connections_refused", 3, "limit")
    records = books.pipeline("lab", "main")
    records.taken_in, records.emitted, records.out = 20, 5, 8
    records.filtered, records.absorbed = 6, 4
    records.rejected["step[0]"] = 3
    records.dropped["shutdown"] = 2
    delivery = books.delivery("lab", "main", "db")
    delivery.offered, delivery.stored, delivery.replaced = 30, 11, 9
    delivery.unmatched, delivery.rejected = 7, 5
    delivery.dropped["buffer_full"] = 3
    entries = list(books.entries())
    assert len(entries) == len(set(entries))
    assert set(entries) == {
        Entry("lab", "", "", "received", "", 9),
        Entry("lab", "", "", "decoded", "", 4),
        Entry("lab", "", "", "rejected", "utf8", 2),
        Entry("lab", "", "", "dropped", "shutdown", 1),
        Entry("lab", "", "", "held", "", 0),
        Entry("lab", "", "", "waiting", "", 2),
        Entry("lab", "", "", "truncated", "", 7),
        Entry("lab", "", "", "connections_refused", "limit", 3),
        Entry("lab", "main", "", "in", "", 20),
        Entry("lab", "main", "", "emitted", "", 5),
        Entry("lab", "main", "", "out", "", 8),
        Entry("lab", "main", "", "filtered", "", 6),
        Entry("lab", "main", "", "absorbed", "", 4),
        Entry("lab", "main", "", "rejected", "step[0]", 3),
        Entry("lab", "main", "", "dropped", "shutdown", 2),
        Entry("lab", "main", "", "in_flight", "", 2),
        Entry("lab", "main", "db", "offered", "", 30),
        Entry("lab", "main", "db", "stored", "", 11),
        Entry("lab", "main", "db", "replaced", "", 9),
        Entry("lab", "main", "db", "unmatched", "", 7),
        Entry("lab", "main", "db", "rejected", "", 5),
        Entry("lab", "main", "db", "pending", "", 4),
        Entry("lab", "main", "db", "dropped", "buffer_full", 3),
    }


def test_a_book_is_made_once_for_each_name_and_found_again() -> None:
    books = Books()
    assert books.source("a") is books.source("a")
    assert books.pipeline("a", "p") is books.pipeline("a", "p")
    assert books.delivery("a", "p", "x") is books.delivery("a", "p", "x")
    assert len({id(books.delivery(*names)) for names in ("apx", "bpx", "aqx", "apy")}) == 4
    assert len({id(books.pipeline(*names)) for names in ("ap", "bp", "aq")}) == 3
    delivery = books.delivery("a", "p", "x")
    assert (delivery.source, delivery.pipeline, delivery.sink) == ("a", "p", "x")


def test_a_sink_that_was_always_there_is_due_all_that_was_handed_out() -> None:
    books = Books()
    records = books.pipeline("lab", "main")
    books.connect("main", ["db"])
    records.out = 10
    assert books.delivery("lab", "main", "db").due(records.out) == 10


def test_a_sink_that_joins_is_due_what_is_handed_out_from_then_on() -> None:
    books = Books()
    records = books.pipeline("lab", "main")
    books.connect("main", ["db"])
    records.out = 10
    books.connect("main", ["db", "copy"])
    records.out = 14
    assert books.delivery("lab", "main", "db").due(records.out) == 14
    assert books.delivery("lab", "main", "copy").due(records.out) == 4


def test_a_sink_that_leaves_is_due_what_was_handed_out_until_then_and_more_after_it_came_back() -> None:
    books = Books()
    records = books.pipeline("lab", "main")
    books.connect("main", ["db", "copy"])
    records.out = 10
    books.connect("main", ["db"])
    copy = books.delivery("lab", "main", "copy")
    records.out = 15
    assert copy.due(records.out) == 10
    books.connect("main", ["copy"])
    records.out = 18
    assert copy.due(records.out) == 10 + 3
    assert books.delivery("lab", "main", "db").due(records.out) == 15
    books.connect("main", ["db"])
    records.out = 30
    assert copy.due(records.out) == 13
    assert books.delivery("lab", "main", "db").due(records.out) == 15 + 12


def test_what_one_pipeline_connects_says_nothing_of_another() -> None:
    books = Books()
    main, other = books.pipeline("lab", "main"), books.pipeline("lab", "other")
    books.connect("main", ["db"])
    books.connect("other", ["db"])
    main.out, other.out = 10, 7
    books.connect("main", ["copy"])
    main.out, other.out = 13, 12
    assert books.delivery("lab", "main", "copy").due(main.out) == 3
    assert books.delivery("lab", "main", "db").due(main.out) == 10
    assert books.delivery("lab", "other", "db").due(other.out) == 12


def test_a_source_that_handed_out_nothing_yet_owes_a_sink_that_joins_all_of_it() -> None:
    books = Books()
    records = books.pipeline("lab", "main")
    books.connect("main", ["db"])
    books.connect("main", ["db", "copy"])
    assert not books.deliveries, "no book of deliveries is made for nothing"
    records.out = 3
    assert books.delivery("lab", "main", "copy").due(records.out) == 3


def test_the_first_sinks_that_are_named_are_those_it_always_handed_out_to() -> None:
    books = Books()
    records = books.pipeline("lab", "main")
    records.out = 5
    books.connect("main", ["db"])
    assert books.delivery("lab", "main", "db").due(records.out) == 5


COUNTS = st.integers(0, 50)
REASONS = st.dictionaries(st.sampled_from(["full", "shutdown", "utf8"]), COUNTS)


@st.composite
def balanced(draw: st.DrawFn) -> Books:
    """Books of one process whose sums all hold, with sinks that may join and leave."""
    books = Books()
    for source in draw(st.sets(st.sampled_from(["lab", "roof"]), min_size=1)):
        frames = books.source(source)
        frames.decoded = draw(COUNTS)
        frames.rejected.update(draw(REASONS))
        frames.dropped.update(draw(REASONS))
        frames.received = -frames.left
        frames.counters.add("truncated", draw(COUNTS))
    sinks = st.sets(st.sampled_from(["db", "copy"]))
    books.connect("main", draw(sinks))
    for source in books.frames:
        records = books.pipeline(source, "main")
        records.out, records.filtered, records.emitted = draw(COUNTS), draw(COUNTS), draw(COUNTS)
        records.dropped.update(draw(REASONS))
    books.connect("main", draw(sinks))
    for records in books.records.values():
        records.out += draw(COUNTS)
        records.taken_in = -records.left
        for sink in ("db", "copy"):
            book = books.delivery(records.source, "main", sink)
            book.offered = book.due(records.out)
            book.stored = draw(st.integers(0, book.offered))
            book.unmatched = book.left
    return books


@given(st.lists(balanced(), max_size=4))
def test_books_that_balance_in_each_process_balance_when_they_are_merged(parts: list[Books]) -> None:
    assert [differences(part) for part in parts] == [[] for _ in parts]
    merged = Books.merge(parts)
    assert differences(merged) == []
    summed: dict[Any, int] = {}
    for part in parts:
        for entry in part.entries():
            summed[entry[:5]] = summed.get(entry[:5], 0) + entry.n
    assert {entry[:5]: entry.n for entry in merged.entries()} == summed


@given(st.lists(balanced(), min_size=1, max_size=3), st.data())
def test_a_number_that_is_wrong_in_one_process_is_wrong_by_as_much_in_the_merged_books(
    parts: list[Books], data: st.DataObject
) -> None:
    book = data.draw(st.sampled_from(list(data.draw(st.sampled_from(parts)).every())))
    term = data.draw(st.sampled_from([term for term in book.terms if term.side in {"in", "out"}]))
    wrong = data.draw(st.integers(-9, 9).filter(bool))
    if term.by:
        getattr(book, term.attribute)["full"] += wrong
    else:
        setattr(book, term.attribute, getattr(book, term.attribute) + wrong)
    sign = 1 if term.side == "in" else -1
    merged = Books.merge(parts)
    (same,) = (other for other in merged.every() if (type(other), other.place) == (type(book), book.place))
    assert same.left == sign * wrong
    assert differences(merged)


def test_merged_books_are_a_snapshot_and_leave_their_parts_as_they_were() -> None:
    one, other = Books(), Books()
    one.source("lab").received = 3
    other.source("lab").rejected["utf8"] = 0
    merged = Books.merge([one, other])
    merged.source("lab").rejected["utf8"] += 2
    assert one.source("lab").received == 3
    assert other.source("lab").rejected == {"utf8": 0}
    assert list(Books.merge([]).entries()) == []
