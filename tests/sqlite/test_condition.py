import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from streamd.sqlite.condition import bracketed


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute('CREATE TABLE "odd ""name" (a, b)')
        yield connection


@pytest.mark.parametrize(
    "condition",
    [
        "a = 1",
        "a = 1 -- why",
        "a = ')' OR b = '('",
        "a IN (SELECT 1 UNION SELECT 2)",
        "(a) = (b)",
        "a /* ) */",
    ],
)
def test_one_expression_comes_back_in_brackets(connection: sqlite3.Connection, condition: str) -> None:
    assert bracketed(connection, 'odd "name', condition) == f"({condition}\n)"


@pytest.mark.parametrize(
    "condition",
    [
        "", " ", "-- nothing", "1) OR (1", "1))--", ")", "(", "1 -- \n) OR (1", "1 GROUP BY a",
        "1 ORDER BY a", "1 LIMIT 1", "1 UNION SELECT 1", "1; SELECT 1", "1;", "a, b",
        "SELECT 1", "1 /*", "a = 'x", "c = 1",
        "1 WINDOW w AS (ORDER BY a)", "a = ?", "1\0",
    ],
)  # fmt: skip
def test_what_is_not_one_expression_is_refused(connection: sqlite3.Connection, condition: str) -> None:
    with pytest.raises((sqlite3.Error, sqlite3.Warning)):
        bracketed(connection, 'odd "name', condition)


def test_it_is_compiled_and_not_run(connection: sqlite3.Connection) -> None:
    called: list[int] = []
    connection.create_function("noted", 0, lambda: called.append(1))
    connection.execute('INSERT INTO "odd ""name" VALUES (1, 2)')
    bracketed(connection, 'odd "name', "noted() OR a = :a", {"a": 1})
    assert called == []
