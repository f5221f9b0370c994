"""A term that a book declares is in everything that shows the books; nothing else has to name it."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from typing import Any

import pytest

from streamd.admin.metrics import Metrics
from streamd.admin.status import status
from streamd.admin.watch import Watch
from streamd.closing_books import differences, summary
from streamd.core.books import SUMS, Books
from streamd.core.plural import counted
from streamd.core.sums import Book, Entry, Term
from streamd.ledger.tables import statements

IMPOUNDED = Term("out", "held back for an inspection", "inspector", "impounded", "impounded", in_summary=True)


@pytest.fixture(params=SUMS, ids=lambda book: book.unit)
def book(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, world: Any) -> Book:
    """The book of one unit, of a world in balance, with one more term that holds 3 of what was left."""
    kind: type[Book] = request.param
    monkeypatch.setattr(kind, "terms", (*kind.terms[:-1], IMPOUNDED, kind.terms[-1]))
    world.fill_books()
    (found,) = (made for made in world.books.every() if isinstance(made, kind))
    found.impounded = Counter({"customs": 2, "police": 1})  # type: ignore[attr-defined]  # declared just now
    world.buffers.clear()
    return found


def test_it_is_a_term_of_the_sum(book: Book, world: Any) -> None:
    before = {kind.unit: made for kind, made in zip(SUMS, (10, 19, 65), strict=True)}
    assert book.left == before[book.unit] - 3
    found = [entry for entry in world.books.entries() if entry.counter == "impounded"]
    pipeline, sink = (*book.place, "", "")[1:3]
    assert found == [
        Entry("lab", pipeline, sink, "impounded", "customs", 2),
        Entry("lab", pipeline, sink, "impounded", "police", 1),
    ]
    assert type(book)(*book.place).left == 0


def test_it_is_a_metric_with_its_meaning_and_its_labels(book: Book, world: Any) -> None:
    text = Metrics(world.view, Watch(world.view), {}).render("")[0].decode()
    labels = ",".join(f'{key}="{value}"' for key, value in zip(book.keys, book.place, strict=True))
    # prometheus_client sorts the labels
    sample = ",".join(sorted([*labels.split(","), 'inspector="customs"']))
    assert f"# HELP streamd_{book.unit}_impounded_total {IMPOUNDED.meaning}\n" in text
    assert f"streamd_{book.unit}_impounded_total{{{sample}}} 2.0\n" in text


def test_it_is_in_the_status_and_a_sum_that_does_not_hold_with_it_is_named(book: Book, world: Any) -> None:
    watch = Watch(world.view)
    made = status(world.view, watch, world.clock(), 0)
    assert '"impounded": {"customs": 2, "police": 1}' in json.dumps(made)
    assert made["balanced"]
    book.impounded["customs"] += 1000  # type: ignore[attr-defined]
    made = status(world.view, watch, world.clock(), 0)
    assert made["imbalances"] == [f"{'/'.join(book.place)}: {book.terms[-1].name} is {book.left}"]


def test_it_is_in_the_line_at_the_stop(book: Book, world: Any) -> None:
    (line,) = (line for line in summary(world.books) if "impounded" in line)
    left = book.terms[-1].name.replace("_", " ")
    assert f" + impounded 3 (customs 2, police 1) + {left} {book.left}" in line
    assert any(f" {counted(book.left, book.noun)} {left}" in found for found in differences(world.books))


def test_it_is_in_the_ledger_and_in_its_views(book: Book, world: Any) -> None:
    with closing(sqlite3.connect(":memory:")) as ledger:
        for statement in statements():
            ledger.execute(statement)
        ledger.executemany(
            "INSERT INTO ledger VALUES ('2026-01-31T08:01:00.000000Z', 'one', 5, ?, ?, ?, ?, ?, ?)",
            world.books.entries(),
        )
        assert ledger.execute("SELECT impounded FROM ledger_summary").fetchall() == [(3,)]
        if book.unit == "deliveries":
            assert ledger.execute("SELECT impounded FROM ledger_sinks").fetchall() == [(3,)]


def test_it_is_added_up_over_processes(book: Book, world: Any) -> None:
    merged = Books.merge([world.books, world.books])
    (total,) = (made for made in merged.every() if type(made) is type(book))
    assert total.numbers()["impounded"] == {"customs": 4, "police": 2}
