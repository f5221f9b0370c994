import sqlite3
from collections.abc import Sequence
from typing import Any

from streamd.sqlite.named_view import NamedView
from streamd.sqlite.table import Table

NAMES = {"severity": ["emerg", "it's bad"], "Level": ["low"]}


class Memory:
    """A database in memory."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:")

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, params).fetchall()


def table(names: dict[str, list[str]], *more: str) -> Table:
    columns = {"severity": "INTEGER", "Level": "INTEGER", **dict.fromkeys(more, "TEXT")}
    return Table("log", columns, names=names)


async def ensure(database: Memory, wanted: Table) -> list[str]:
    changes = await wanted.changes(database)
    for change in changes:
        database.connection.execute(change)
    return changes


async def test_a_view_has_the_names_beside_the_numbers() -> None:
    database = Memory()
    await ensure(database, table(NAMES))
    database.connection.execute("INSERT INTO log VALUES (1, 0), (2, NULL)")
    cursor = database.connection.execute("SELECT * FROM log_named ORDER BY severity")
    assert [column[0] for column in cursor.description] == [
        "severity",
        "Level",
        "severity_name",
        "Level_name",
    ]
    assert cursor.fetchall() == [(1, 0, "it's bad", "low"), (2, None, None, None)]
    assert await ensure(database, table(NAMES)) == [], "it is there"
    database.connection.close()


async def test_other_names_and_new_columns_are_seen() -> None:
    database = Memory()
    await ensure(database, table({"severity": ["a"]}))
    await ensure(database, table({"severity": ["b"]}, "text"))
    database.connection.execute("INSERT INTO log VALUES (0, 1, 'x')")
    assert database.connection.execute("SELECT text, severity_name FROM log_named").fetchall() == [("x", "b")]
    database.connection.close()


async def test_a_view_of_the_users_own_is_left_alone() -> None:
    database = Memory()
    database.connection.execute("CREATE VIEW LOG_named AS SELECT 1 AS one")
    await ensure(database, table(NAMES))
    assert database.connection.execute("SELECT * FROM log_named").fetchall() == [(1,)]
    database.connection.close()


def test_a_column_of_the_tables_own_is_not_repeated() -> None:
    view = NamedView("log", ["severity", "SEVERITY_NAME"], {"severity": ["a"]})
    assert view.sql.count("severity_name") == 0


def test_a_table_without_names_has_no_view() -> None:
    assert table({}).view is None
