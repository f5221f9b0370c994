import sqlite3
from pathlib import Path

import pytest

from streamd.sqlite.faults import environment_fault, primary_code


def failing(connection: sqlite3.Connection, sql: str) -> sqlite3.Error:
    with pytest.raises(sqlite3.Error) as raised:
        connection.execute(sql)
    return raised.value


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM missing",
        "INSERT INTO t VALUES (1), (1)",
        "INSERT INTO t VALUES ('text')",
        "INSERT INTO t VALUES (NULL)",
        "nonsense",
    ],
)
def test_a_statement_or_its_data_is_no_fault_of_the_environment(sql: str) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (n INTEGER NOT NULL UNIQUE) STRICT")
    error = failing(connection, sql)
    assert environment_fault(error) is None
    connection.close()


def test_a_locked_file_is_one(tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    other = sqlite3.connect(tmp_path / "a.db", timeout=0)
    fault = environment_fault(failing(other, "CREATE TABLE t (n)"))
    assert fault is not None
    assert (fault.reason, fault.detail) == ("locked", "database is locked (SQLITE_BUSY)")
    other.close()
    holder.close()


def test_a_file_that_is_no_database_or_may_not_be_written_is_one(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all, but long enough to have a header\n" * 20)
    connection = sqlite3.connect(tmp_path / "text")
    fault = environment_fault(failing(connection, "SELECT * FROM sqlite_schema"))
    assert fault is not None
    assert fault.reason == "corrupt"
    connection.close()
    sqlite3.connect(tmp_path / "b.db").execute("CREATE TABLE t (n)").connection.close()
    connection = sqlite3.connect(f"file:{tmp_path}/b.db?mode=ro", uri=True)
    fault = environment_fault(failing(connection, "INSERT INTO t VALUES (1)"))
    assert fault is not None
    assert fault.reason == "readonly"
    connection.close()


def test_a_code_that_is_not_known_is_tried_again() -> None:
    error = sqlite3.OperationalError("something new")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR | (99 << 8), "SQLITE_IOERR_NEW"
    fault = environment_fault(error)
    assert fault is not None
    assert fault.reason == "io"
    error.sqlite_errorcode = 77
    fault = environment_fault(error)
    assert fault is not None
    assert fault.reason == "sqlite"


def test_an_error_of_the_module_itself_has_no_code() -> None:
    connection = sqlite3.connect(":memory:")
    connection.close()
    error = failing(connection, "SELECT 1")
    assert primary_code(error) == 0
    assert environment_fault(error) is None
