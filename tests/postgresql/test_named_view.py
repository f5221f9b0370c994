"""The view of the names of numbers on a real server."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from streamd.core.schema import FieldType
from streamd.postgresql.table import ServerTable
from tests.postgresql_server import PostgresqlServer, needs_postgresql, shared_server

pytestmark = needs_postgresql

NAMES = {"severity": ["emerg", "it's bad"], "Level": ["low"]}


@pytest.fixture
def server() -> PostgresqlServer:
    return shared_server()


@pytest.fixture
def connection(server: PostgresqlServer) -> Iterator[psycopg.Connection[Any]]:
    with server.connect() as connection:
        yield connection


@pytest.fixture
def name(server: PostgresqlServer) -> str:
    return server.new_name()


def table(name: str, names: dict[str, list[str]] = NAMES, **more: FieldType) -> ServerTable:
    columns: dict[str, FieldType] = {"severity": "int", "Level": "int", **more}
    return ServerTable(name, columns, names=names)


def columns_of(connection: psycopg.Connection[Any], name: str) -> list[str]:
    described = connection.execute(f'SELECT * FROM "{name}" LIMIT 0').description or []
    return [column.name for column in described]


def test_a_view_has_the_names_beside_the_numbers(connection: Any, name: str) -> None:
    table(name).ensure(connection)
    connection.execute(f"INSERT INTO {name} VALUES (1, 0), (2, NULL)")
    assert columns_of(connection, f"{name}_named") == ["severity", "Level", "severity_name", "Level_name"]
    rows = connection.execute(f"SELECT * FROM {name}_named ORDER BY severity").fetchall()
    assert rows == [(1, 0, "it's bad", "low"), (2, None, None, None)]
    assert table(name).changes(connection) == [], "it is there"


def test_other_names_and_new_columns_are_added_and_rights_stay(connection: Any, name: str) -> None:
    table(name, {"severity": ["a"]}).ensure(connection)
    connection.execute(f"GRANT SELECT ON {name}_named TO PUBLIC")
    connection.execute(f"CREATE VIEW {name}_of_user AS SELECT severity_name FROM {name}_named")
    connection.execute(f"ALTER TABLE {name} ADD COLUMN by_user text")
    table(name, {"severity": ["b"]}, text="str").ensure(connection)
    connection.execute(f"INSERT INTO {name} (severity, text) VALUES (0, 'x')")
    found = connection.execute(f"SELECT to_jsonb(v)::text FROM {name}_named v").fetchall()
    assert [json.loads(row) for (row,) in found] == [
        {"severity": 0, "Level": None, "severity_name": "b", "by_user": None, "text": "x"}
    ]
    assert connection.execute(
        "SELECT has_table_privilege('pg_monitor', %s, 'SELECT')", (f"{name}_named",)
    ).fetchone() == (True,)


def test_a_table_that_was_moved_away_leaves_its_view_to_the_new_one(connection: Any, name: str) -> None:
    table(name, text="int").ensure(connection)
    connection.execute(f"INSERT INTO {name} VALUES (0, 0, 5)")
    connection.execute(f"ALTER TABLE {name} RENAME TO {name}_old")
    table(name, text="str").ensure(connection)
    assert connection.execute(f"SELECT count(*) FROM {name}_named").fetchone() == (0,)
    assert table(name, text="str").changes(connection) == []


def test_a_column_that_was_renamed_for_another_type_is_in_the_view(connection: Any, name: str) -> None:
    table(name, value="int").ensure(connection)
    connection.execute(f"ALTER TABLE {name} RENAME COLUMN value TO value_old")
    table(name, value="str").ensure(connection)
    assert columns_of(connection, f"{name}_named") == [
        "severity", "Level", "value_old", "value", "severity_name", "Level_name",
    ]  # fmt: skip


def test_a_view_that_would_be_made_anew_stays_while_others_use_it(connection: Any, name: str) -> None:
    table(name).ensure(connection)
    connection.execute(f"CREATE VIEW {name}_of_user AS SELECT * FROM {name}_named")
    wanted = table(name, {"severity": ["a"]})
    wanted.ensure(connection)
    assert columns_of(connection, f"{name}_named")[-1] == "Level_name"
    connection.execute(f"DROP VIEW {name}_of_user")
    wanted.ensure(connection)
    assert columns_of(connection, f"{name}_named") == ["severity", "Level", "severity_name"]


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW", "TABLE"])
def test_what_the_user_made_under_its_name_is_left_alone(connection: Any, name: str, kind: str) -> None:
    connection.execute(f"CREATE {kind} {name}_named AS SELECT 1 AS one")
    table(name).ensure(connection)
    assert columns_of(connection, f"{name}_named") == ["one"]


def test_a_user_who_may_only_insert_has_no_view(server: PostgresqlServer, connection: Any, name: str) -> None:
    del server
    connection.execute(f'CREATE TABLE {name} (severity bigint, "Level" bigint)')
    connection.execute(f"CREATE ROLE {name}_writer")
    connection.execute(f"GRANT INSERT ON {name} TO {name}_writer")
    connection.execute(f"SET ROLE {name}_writer")
    table(name).ensure(connection)
    connection.execute("RESET ROLE")
    assert connection.execute("SELECT to_regclass(%s)", (f"{name}_named",)).fetchone() == (None,)


def test_the_view_is_in_the_schema_of_its_table(connection: Any, name: str) -> None:
    connection.execute(f"CREATE SCHEMA {name}")
    table(f"{name}.log").ensure(connection)
    assert table(f"{name}.log").changes(connection) == []
    connection.execute(f"SET search_path = public, {name}")
    assert table("log").changes(connection) == [], "found in the schema where the table is"
    assert connection.execute(f"SELECT count(*) FROM {name}.log_named").fetchone() == (0,)


def test_columns_of_the_tables_own_and_too_long_names_are_left_out(connection: Any, name: str) -> None:
    long = "x" * 60
    wanted = ServerTable(
        name, {"a": "int", "a_name": "str", long: "int"}, names={"a": ["zero"], long: ["zero"]}
    )
    wanted.ensure(connection)
    assert columns_of(connection, f"{name}_named") == ["a", "a_name", long]
    too_long = name + "x" * (60 - len(name))
    assert len(table(too_long).changes(connection)) == 1, "only the table"
