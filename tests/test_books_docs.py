import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from streamd.core.books import SUMS
from streamd.ledger.tables import statements
from tests.term_docs import BOOKS, METRICS, books_page, metrics_page

TEXT = (Path(__file__).parent.parent / "docs/reference/books.md").read_text()
QUERIES = [
    *re.findall(r'streamd query "(.*)"', TEXT),
    *(block for block in re.findall(r"(?:^    .*\n)+", TEXT, re.MULTILINE) if block.startswith("    select")),
]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "streamd.db"
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements():
            connection.execute(statement)
        connection.execute("CREATE TABLE records (received_at TEXT, source TEXT)")
        connection.execute("INSERT INTO records VALUES ('2026-01-31T08:01:30.000000Z', 'lab')")
        lab = [("", "", "received", 979), ("", "", "kernel_dropped", 21), ("", "", "dropped", 0)]
        delivery = [
            ("main", "db", "offered", 979),
            ("main", "db", "stored", 970),
            ("main", "db", "pending", 9),
        ]
        connection.executemany(
            "INSERT INTO ledger VALUES ('2026-01-31T08:01:00.000000Z', 'one', 5, 'lab', ?, ?, ?, '', ?)",
            lab + delivery,
        )
        connection.commit()
    return path


@pytest.mark.parametrize("sql", QUERIES)
def test_every_query_in_the_book_can_be_asked(sql: str, database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(sql).fetchall()


def test_the_worked_example_is_what_the_view_says(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        (row,) = connection.execute("SELECT * FROM completeness").fetchall()
    assert " ".join(map(str, row)) in re.sub(" +", " ", TEXT)


def test_the_book_has_queries_and_the_balance_finds_what_is_missing(database: Path) -> None:
    assert len(QUERIES) == 5
    balance = QUERIES[-1]
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute(balance).fetchall() == []
        connection.execute("UPDATE ledger SET n = 969 WHERE counter = 'stored'")
        assert connection.execute(balance).fetchall() == [("one", "lab", "main", "db", 979, 978)]


def test_the_pages_have_each_sum_and_each_term_as_the_books_declare_them() -> None:
    for page, write in ((BOOKS, books_page), (METRICS, metrics_page)):
        text = page.read_text("utf-8")
        assert write(text) == text, "run: .venv/bin/python -m tests.term_docs"


@pytest.mark.parametrize("term", [term.name for term in SUMS[-1].terms])
def test_a_term_that_the_pages_lack_is_written_into_its_place(term: str) -> None:
    less = re.sub(rf"\| deliveries \| `{term}` .*\n", "", TEXT)
    less = less.replace(f" + {term}", "").replace(f", '{term}'", "")
    less = re.sub(rf"(`ledger_sinks\([^)]*), {term}\b", r"\1", less)
    assert less != TEXT
    assert books_page(less) == TEXT
    metrics = METRICS.read_text("utf-8")
    assert metrics_page(re.sub(rf"\| `streamd_deliveries_{term}\w*` .*\n", "", metrics)) == metrics
