from streamd.closing_books import differences, summary
from streamd.core.books import Books


def books() -> Books:
    found = Books()
    frames = found.source("lab")
    frames.received, frames.decoded = 1_000_000, 999_980
    frames.rejected.update({"json:syntax": 3, "utf8": 7})
    frames.dropped["buffer_full"] = 10
    frames.counters.add("kernel_dropped", 0)
    frames.counters.add("truncated", 2)
    frames.counters.add("connections_refused", 1, "cap")
    frames.counters.add("connections_refused", 1, "allow")
    records = found.pipeline("lab", "main")
    records.taken_in, records.out, records.filtered = 999_980, 999_900, 70
    records.rejected["check"] = 10
    deliveries = found.delivery("lab", "main", "db")
    deliveries.offered, deliveries.stored, deliveries.replaced, deliveries.rejected = 999_900, 999_895, 5, 1
    deliveries.dropped["shutdown"] = 4
    return found


def test_every_sum_is_a_line_and_the_last_says_that_all_is_told() -> None:
    assert summary(books()) == [
        (
            "source lab: received 1,000,000 = decoded 999,980 + rejected 10 (utf8 7, json:syntax 3)"
            " + dropped 10 (buffer_full 10) + waiting 0; kernel dropped 0; truncated 2; connections refused 2"
        ),
        (
            "lab > main: in 999,980 = out 999,900 + filtered 70 + rejected 10 (check 10) + dropped 0"
            " + in flight 0"
        ),
        (
            "lab > main > db: offered 999,900 = stored 999,895 (replaced 5) + rejected 1"
            " + dropped 4 (shutdown 4) + pending 0"
        ),
        "books balance",
    ]


def test_terms_that_are_seldom_there_are_shown_when_they_are() -> None:
    found = books()
    found.records["lab", "main"].emitted = 3
    found.records["lab", "main"].absorbed = 3
    found.deliveries["lab", "main", "db"].unmatched = 1
    found.deliveries["lab", "main", "db"].stored -= 1
    _, records, deliveries, verdict = summary(found)
    assert "in 999,980 + emitted 3 = out 999,900 + filtered 70 + absorbed 3 + rejected" in records
    assert "stored 999,894 (replaced 5) + unmatched 1 + rejected 1" in deliveries
    assert verdict == "books balance"


def test_every_record_without_a_fate_is_named() -> None:
    found = books()
    found.frames["lab"].received += 1_234
    found.records["lab", "main"].taken_in -= 2
    found.deliveries["lab", "main", "db"].offered += 1
    assert differences(found) == [
        "source lab: 1,234 frames waiting",
        "lab > main: -2 records in flight",
        "lab > main > db: 1 record pending",
        "lab > main > db: offered +1 against the records handed out",
    ]
    assert summary(found)[-1] == f"books do not balance: {'; '.join(differences(found))}"


def test_a_record_with_two_fates_is_named_like_one_without_any() -> None:
    found = books()
    found.frames["lab"].decoded += 1
    found.records["lab", "main"].rejected["check"] += 2
    found.deliveries["lab", "main", "db"].stored += 3
    assert differences(found) == [
        "source lab: -1 frames waiting",
        "lab > main: -2 records in flight",
        "lab > main > db: -3 records pending",
    ]


def test_a_sink_that_was_offered_less_than_was_handed_out_is_named() -> None:
    found = books()
    found.deliveries["lab", "main", "db"].offered -= 1
    found.deliveries["lab", "main", "db"].stored -= 1
    assert differences(found) == ["lab > main > db: offered -1 against the records handed out"]
    assert summary(found)[-1].startswith("books do not balance: ")


def test_empty_books_balance() -> None:
    assert summary(Books()) == ["books balance"]


def test_what_a_step_or_a_sink_counts_beside_the_sums_has_a_line_where_it_is_not_zero() -> None:
    found = books()
    found.step("main", "window[0]").add("late", 1_700)
    found.step("main", "window[0]").add("full", 2, "keys")
    found.step("main", "window[0]").add("full", 3, "bytes")
    found.step("main", "quiet[1]").add("late", 0)
    found.sink("onward").add("unconfirmed", 1_000, "reset")
    found.sink("onward").add("unconfirmed", 200)
    found.sink("db").take({("extra_dropped", ""): 3, ("expired", ""): 20, ("wal_pinned", ""): 0})
    found.sink("file").add("files_rotated", 2)
    found.sink("quiet").add("unconfirmed", 0)
    found.sink("new")
    assert summary(found) == [
        *summary(books())[:-1],
        "step main > window[0]: late 1,700; full 5 (bytes 3, keys 2)",
        "sink onward: of stored, 1,200 unconfirmed",
        "sink db: of stored, 20 expired since; extra dropped 3",
        "sink file: files rotated 2",
        "books balance",
    ]


def test_a_sink_is_offered_what_is_handed_out_while_the_pipeline_has_it() -> None:
    found = Books()
    records = found.pipeline("lab", "main")
    found.connect("main", ["one"])
    records.taken_in = records.out = 10
    one = found.delivery("lab", "main", "one")
    one.offered = one.stored = 10
    found.connect("main", ["two"])
    records.taken_in = records.out = 15
    two = found.delivery("lab", "main", "two")
    two.offered = two.stored = 5
    found.connect("main", ["two", "one"])
    records.taken_in = records.out = 16
    one.offered = one.stored = 11
    two.offered = two.stored = 6
    assert differences(found) == []
    one.offered = one.stored = 12
    assert differences(found) == ["lab > main > one: offered +1 against the records handed out"]
