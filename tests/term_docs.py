"""Writes what the reference pages say of the terms of the books: `python -m tests.term_docs`."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from streamd.core.books import SUMS
from streamd.core.sums import equation
from streamd.ledger.tables import statements

REFERENCE = Path(__file__).parent.parent / "docs/reference"
BOOKS, METRICS = REFERENCE / "books.md", REFERENCE / "metrics.md"
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def books_page(text: str) -> str:
    """The page with the sums, the terms and the columns of `ledger_sinks` as the code has them."""
    rows = "".join(
        f"| {book.unit} | `{term.name}` | {term.meaning}{f', by {term.by}' if term.by else ''} |\n"
        for book in SUMS
        for term in book.terms
    )
    text = re.sub(r"(?m)(?:^\| (?:frames|records|deliveries) \| `.*\n)+", lambda _: rows, text)
    for book in SUMS:
        sides = equation(book).split(" = ")
        text = re.sub(rf"\b{re.escape(sides[0])} = [a-z_+ ]+\b", equation(book), text)
        names = ", ".join(f"'{name}'" for name in sides[1].split(" + "))
        if book is SUMS[-1]:
            text = re.sub(r"counter in \('stored'[^)]*\)", f"counter in ({names})", text)
    return re.sub(r"`ledger_sinks\([^)]*\)`", f"`ledger_sinks({', '.join(_columns())})`", text)


def _columns() -> list[str]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in statements():
            connection.execute(statement)
        return [row[1] for row in connection.execute("PRAGMA table_info(ledger_sinks)")]


def metrics_page(text: str) -> str:
    """The page with a row for each term; a row that says the same with a link in it stays."""
    lines, after = text.splitlines(), 0
    for metric, row in _metrics():
        place = next((n for n, line in enumerate(lines) if line.startswith(f"| `{metric}` |")), None)
        if place is None:
            lines.insert(after + 1, row)
        elif LINK.sub(r"\1", lines[place]) != row:
            lines[place] = row
        after = next(n for n, line in enumerate(lines) if line.startswith(f"| `{metric}` |"))
    return "\n".join(lines) + "\n"


def _metrics() -> Iterator[tuple[str, str]]:
    for book in SUMS:
        for term in book.terms:
            end = "" if term.side == "left" or term.gauge else "_total"
            metric = f"streamd_{book.unit}_{term.name}{end}"
            yield (
                metric,
                f"| `{metric}` | {', '.join(filter(None, (*book.keys, term.by)))} | {term.meaning} |",
            )


if __name__ == "__main__":
    BOOKS.write_text(books_page(BOOKS.read_text("utf-8")), "utf-8")
    METRICS.write_text(metrics_page(METRICS.read_text("utf-8")), "utf-8")
