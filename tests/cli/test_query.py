"""Also about `cli/_schema_hint.py` and `config/databases.py`."""

import csv
import io
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streamd.cli import main, query
from streamd.cli._table import distinct, text_of, write_rows
from streamd.core.printable import escape


class Terminal(io.StringIO):
    """Standard output of somebody who looks at it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "streamd.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE readings (sensor TEXT, value REAL, raw BLOB)")
        rows = [("s-1", 21.5, None), ("数据", None, b"caf\xc3\xa9"), ("s-3", 1.0, b"\xff\x00")]
        connection.executemany("INSERT INTO readings VALUES (?, ?, ?)", rows)
        connection.commit()
    return path


@pytest.fixture
def writer(database: Path) -> Iterator[sqlite3.Connection]:
    """A daemon that has the file open and is in the middle of a transaction."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO readings VALUES ('not yet', 0, NULL)")
        yield connection


def ask(sql: str, database: Path, *more: str) -> int:
    return main(["query", sql, "--db", str(database), *more])


@pytest.mark.parametrize("command", [["query", "select 1"], ["state", "list"], ["tail", "readings"]])
def test_a_database_that_is_no_regular_file_is_refused_and_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        assert main([*command, "--db", str(path)]) == 1
        assert f"{path} is not a regular file" in capsys.readouterr().err


def test_elsewhere_than_on_a_terminal_rows_are_tsv_with_one_header(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("select * from readings", database) == 0
    assert capsys.readouterr().out == "sensor\tvalue\traw\ns-1\t21.5\t\n数据\t\tcafé\ns-3\t1.0\tx'ff00'\n"


def test_json_is_one_object_a_line_with_bytes_as_base64(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("select * from readings", database, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"sensor": "s-1", "value": 21.5, "raw": None}
    assert lines[1] == {"sensor": "数据", "value": None, "raw": "Y2Fmw6k="}


def test_json_keeps_columns_of_the_same_name_apart(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask("select 1 as a, 2 as a, 3 as a_2, 4 as a", database, "--json")
    assert json.loads(capsys.readouterr().out) == {"a": 1, "a_2": 2, "a_2_2": 3, "a_3": 4}
    assert distinct(["x", "y"]) == ["x", "y"]


def test_csv_in_a_file_is_exact(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask("select 'a\"b\n\x1b[31mc' as x, 1 as y", database, "--csv")
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [["x", "y"], ['a"b\n\x1b[31mc', "1"]]


def test_limit_stops_an_endless_result(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n"
    assert ask(endless, database, "--limit", "3") == 0
    assert capsys.readouterr().out == "i\n1\n2\n3\n"


def test_a_dash_reads_the_statement_from_standard_input(
    database: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("select count(*) as n\nfrom readings"))
    assert ask("-", database) == 0
    assert capsys.readouterr().out == "n\n3\n"


REFUSED = {
    "insert": "INSERT INTO readings VALUES ('x', 1, NULL)",
    "insert behind a with": "WITH x AS (SELECT 1) INSERT INTO readings SELECT 'x', 1, NULL",
    "update": "UPDATE readings SET value = 0",
    "update returning": "UPDATE readings SET value = 0 RETURNING value",
    "delete": "DELETE FROM readings",
    "drop": "DROP TABLE readings",
    "create": "CREATE TABLE other (a)",
    "temporary table": "CREATE TEMP TABLE other (a)",
    "temporary view": "CREATE TEMP VIEW other AS SELECT 1",
    "virtual table": "CREATE VIRTUAL TABLE other USING fts5(a)",
    "alter": "ALTER TABLE readings ADD COLUMN more TEXT",
    "reindex": "REINDEX",
    "analyze": "ANALYZE",
    "attach": "ATTACH 'other.db' AS other",
    "attach in memory": "ATTACH ':memory:' AS other",
    "detach": "DETACH main",
    "vacuum": "VACUUM",
    "vacuum into": "VACUUM INTO 'copy.db'",
    "writes allowed again": "PRAGMA query_only = OFF",
    "journal mode": "PRAGMA journal_mode = DELETE",
    "writable schema": "PRAGMA writable_schema = ON",
    "user version": "PRAGMA user_version = 7",
    "checkpoint": "PRAGMA wal_checkpoint(TRUNCATE)",
    "pragma as a table": "SELECT * FROM pragma_journal_mode",
    "begin": "BEGIN IMMEDIATE",
    "savepoint": "SAVEPOINT here",
    "extension": "SELECT load_extension('evil.so')",
    "tokenizer pointer": "SELECT fts3_tokenizer('x')",
}


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED.keys())
def test_only_reading_is_possible(
    statement: str,
    database: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(database.parent)
    before = database.read_bytes()
    assert ask(statement, database) == 2
    error = capsys.readouterr().err
    assert error.startswith("streamd: ")
    assert error.count("\n") == 1
    assert database.read_bytes() == before
    assert not (database.parent / "copy.db").exists()
    assert not (database.parent / "other.db").exists()


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("selec 1", "syntax error"),
        ("select * from nowhere", "no such table: nowhere"),
        ("select 1; select 2", "one statement"),
        ("", "no SELECT"),
        ("-- nothing", "no SELECT"),
        ("select :a", "binding"),
        ("select '\0'", ""),
        ("select '\udcff'", "UTF-8"),
        ("select json('{')", "malformed JSON"),
    ],
)
def test_a_wrong_statement_is_one_line_and_exit_2(
    sql: str, words: str, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(sql, database) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("streamd: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("limit", ["0", "-1", "many", "²"])
def test_a_limit_is_a_whole_number_above_0(
    limit: str, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        ask("select 1", database, f"--limit={limit}")
    assert exited.value.code == 2
    assert "whole number" in capsys.readouterr().err


def test_no_file_yet_is_exit_1_and_makes_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("select 1", tmp_path / "none.db") == 1
    assert "there is no" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.db").write_bytes(b"no database at all" * 100)
    assert ask("select * from sqlite_schema", tmp_path / "x.db") == 1
    assert "not a database" in capsys.readouterr().err


def test_reads_while_a_writer_is_in_its_transaction(
    writer: sqlite3.Connection, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("select count(*) as n from readings", database) == 0
    assert capsys.readouterr().out == "n\n3\n"
    writer.execute("COMMIT")
    ask("select count(*) as n from readings", database)
    assert capsys.readouterr().out == "n\n4\n"


def test_a_locked_file_is_exit_1(
    database: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamd.sqlite.read_only.BUSY_TIMEOUT_S", 0.0)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("BEGIN EXCLUSIVE")
        assert ask("select * from readings", database) == 1
    assert "locked" in capsys.readouterr().err


def test_dead_letters_beside_the_file_are_schema_dead(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(database.parent / "dead-letters.db")) as connection:
        connection.execute("CREATE TABLE dead_letters (reason TEXT)")
        connection.execute("INSERT INTO dead_letters VALUES ('json:syntax')")
        connection.commit()
    assert ask("select reason from dead.dead_letters", database) == 0
    assert capsys.readouterr().out == "reason\njson:syntax\n"
    assert ask("delete from dead.dead_letters", database) == 2


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """Two files of data, one for the ledger, one for dead letters, and the configuration that names them."""
    for name in ("a.db", "b.db", "books.db", "gone.db"):
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            connection.execute(f"CREATE TABLE {name[0]} (file TEXT)")
            connection.execute(f"INSERT INTO {name[0]} VALUES ('{name}')")  # noqa: S608 - our own words
            connection.execute("CREATE TABLE everywhere (file TEXT)")
            connection.execute(f"INSERT INTO everywhere VALUES ('{name}')")  # noqa: S608 - the same
            connection.commit()
    config = tmp_path / "streamd.toml"
    config.write_text(f"""
        [daemon]
        state_dir = "{tmp_path}"
        [ledger]
        path = "books.db"
        [dead_letters]
        path = "gone.db"
        [sources.lab]
        type = "udp"
        listen = "127.0.0.1:9999"
        [pipelines.main]
        sources = ["lab"]
        sinks = ["first", "same", "main", "unborn"]
        [sinks.first]
        type = "sqlite"
        path = "a.db"
        [sinks.same]
        type = "sqlite"
        path = "a.db"
        table = "other"
        [sinks.main]
        type = "sqlite"
        path = "b.db"
        [sinks.unborn]
        type = "sqlite"
        path = "not-yet.db"
    """)
    return config


@pytest.mark.parametrize(
    ("table", "file"),
    [
        ("everywhere", "a.db"),
        ("main.everywhere", "a.db"),
        ("main_.everywhere", "b.db"),
        ("ledger.everywhere", "books.db"),
        ("dead.everywhere", "gone.db"),
        ("g", "gone.db"),
    ],
)
def test_every_file_of_the_configuration_is_a_schema(
    table: str, file: str, configured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = f"select file from {table}"  # noqa: S608 - our own words
    assert main(["query", sql, "--config", str(configured)]) == 0
    assert capsys.readouterr().out == f"file\n{file}\n"


def test_more_files_than_sqlite_can_read_at_once(
    configured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ""
    for number in range(10):
        (configured.parent / f"more{number}.db").touch()
        more += f'[sinks.more{number}]\ntype = "sqlite"\npath = "more{number}.db"\n'
    names = ", ".join(f'"more{number}"' for number in range(10))
    text = configured.read_text().replace('"unborn"]', f'"unborn", {names}]')
    configured.write_text(f"{text}\n{more}")
    assert main(["query", "select 1", "--config", str(configured)]) == 2
    assert "--db" in capsys.readouterr().err


HOSTILE = "\x1b]0;owned\x07\x9b2J\u202egnp\u2028\r\x00[red]bold[/red]"


def shown(rows: list[tuple[Any, ...]], columns: list[str], style: Any, *, terminal: bool) -> str:
    out = Terminal() if terminal else io.StringIO()
    write_rows(columns, rows, style, out)
    return out.getvalue()


@pytest.mark.parametrize("style", ["auto", "json", "csv"])
@pytest.mark.parametrize("value", [HOSTILE, HOSTILE.encode()], ids=["text", "bytes"])
def test_no_value_and_no_column_name_can_control_a_terminal(
    style: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "200")
    output = shown([(value,)], [HOSTILE], style, terminal=True)
    assert all(line.isprintable() for line in output.split("\n"))
    assert "[red]bold" in output


def test_a_tab_or_a_line_end_in_a_value_breaks_no_tsv_line() -> None:
    assert shown([("a\tb\nc\x1b",)], ["x\ty"], "auto", terminal=False) == "x\\ty\na\\tb\\nc\\x1b\n"


def test_json_escapes_change_nothing_for_a_reader() -> None:
    line = shown([(HOSTILE + "\U000e0001é",)], ["x"], "json", terminal=True)
    assert json.loads(line) == {"x": HOSTILE + "\U000e0001é"}
    assert "é" in line


def test_a_terminal_gets_a_table_with_null_told_from_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    lines = shown([(None, 1), ("", 22)], ["name", "n"], "auto", terminal=True).splitlines()
    assert [line.split() for line in lines if line.split()][:1] == [["name", "n"]]
    assert any(line.split() == ["NULL", "1"] for line in lines)
    assert any(line.split() == ["22"] for line in lines)


def test_a_long_result_on_a_terminal_is_several_tables_and_none_is_lost() -> None:
    output = shown([(number,) for number in range(1000)], ["n"], "auto", terminal=True)
    numbers = [int(line) for line in output.split() if line.isdigit()]
    assert numbers == list(range(1000))


def test_an_empty_result_has_its_header_in_every_form() -> None:
    assert "n" in shown([], ["n"], "auto", terminal=True)
    assert shown([], ["n"], "auto", terminal=False) == "n\n"
    assert shown([], ["n"], "csv", terminal=False) == "n\n"
    assert shown([], ["n"], "json", terminal=False) == ""


def test_text_that_is_not_utf_8_is_shown_and_not_raised(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("select cast(x'ff41' as text) as x", database) == 0
    assert capsys.readouterr().out == "x\n\\xffA\n"


def test_values_as_text() -> None:
    assert [text_of(value) for value in (None, 1, 1.5, "a", b"b", b"\xff")] == [
        "", "1", "1.5", "a", "b", "x'ff'",
    ]  # fmt: skip
    assert escape("plain 数据") == "plain 数据"


def test_rows_stream_out_before_the_query_has_ended(database: Path) -> None:
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n"
    command = [sys.executable, "-m", "streamd", "query", endless, "--db", str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"i\n"
        process.stdout.close()  # `| head` has seen enough
        assert process.stderr.read() == b""
        assert process.wait(30) == 1


def test_control_c_interrupts_a_query_that_gives_no_row(database: Path) -> None:
    """The interrupt may come at any moment of the statement, so it is sent when the statement has begun."""
    numbers = "with recursive n(i) as (select 1 union all select i + 1 from n)"
    busy = f"{numbers} select 7 union all select i from n where i < 0"  # noqa: S608 - nobody else's words
    main_end, terminal = pty.openpty()
    command = [sys.executable, "-m", "streamd", "query", busy, "--db", str(database), "--csv"]
    with subprocess.Popen(command, stdout=terminal, stderr=subprocess.PIPE) as process:
        os.close(terminal)
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        assert os.read(main_end, 100)  # the first row is out: SQLite looks for the second for ever
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        watchdog.cancel()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        os.close(main_end)


def daily(folder: Path, days: int) -> None:
    for day in range(1, days + 1):
        with closing(sqlite3.connect(folder / f"logs-2026-01-{day:02}.db")) as connection:
            connection.execute(f"CREATE TABLE readings (n INTEGER{', late TEXT' if day == days else ''})")
            connection.execute("INSERT INTO readings (n) VALUES (?)", (day,))
            connection.commit()


def test_dated_files_are_one_table_with_the_columns_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daily(tmp_path, 5)
    pattern = tmp_path / "logs-%Y-%m-%d.db"
    assert ask("select n, late from readings where n > 3", pattern) == 0
    assert capsys.readouterr().out == "n\tlate\n4\t\n5\t\n"
    assert ask('select n from "logs-2026-01-02".readings union all select n from main.readings', pattern) == 0
    assert capsys.readouterr().out == "n\n2\n5\n"
    assert ask("delete from readings", pattern) == 2


def test_the_oldest_of_more_files_than_sqlite_reads_at_once_are_left_out_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daily(tmp_path, 14)
    assert ask("select min(n), count(*) from readings", tmp_path / "logs-%Y-%m-%d.db") == 0
    told = capsys.readouterr()
    assert told.out == "min(n)\tcount(*)\n5\t10\n"
    assert "4 older files are left out, logs-2026-01-04.db and before it" in told.err


@pytest.mark.parametrize("days", [1, 2, 11, 14])
def test_the_newest_dated_file_has_its_own_name_too_and_is_read_once(
    days: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daily(tmp_path, days)
    pattern = tmp_path / "logs-%Y-%m-%d.db"
    assert ask('select n from "DAY".readings'.replace("DAY", f"logs-2026-01-{days:02}"), pattern) == 0
    assert ask("select count(*) from readings", pattern) == 0
    assert capsys.readouterr().out == f"n\n{days}\ncount(*)\n{min(days, 10)}\n"


@pytest.mark.parametrize("day", ["2020-01-01", "2099-01-01"])
@pytest.mark.parametrize("kind", ["folder", "empty", "noise", "damaged", "link", "pipe"])
def test_a_dated_file_that_is_no_database_is_left_out_and_named(
    kind: str, day: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"logs-{day}.db"
    match kind:
        case "folder":
            path.mkdir()
        case "empty":
            path.touch()
        case "link":
            path.symlink_to(tmp_path / "nowhere")
        case "pipe":
            os.mkfifo(path)
        case _:
            begin = b"SQLite format 3\0" if kind == "damaged" else b""
            path.write_bytes(begin + bytes(range(256)) * 64)
    pattern = tmp_path / "logs-%Y-%m-%d.db"
    assert ask("select 1", pattern) == 1
    assert path.name in capsys.readouterr().err
    daily(tmp_path, 2)
    assert ask("select n from readings", pattern) == 0
    told = capsys.readouterr()
    assert told.out == "n\n1\n2\n"
    assert [line.partition(" is left out: ")[0] for line in told.err.splitlines()] == [f"streamd: {path}"]


def test_no_dated_file_yet_is_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("select 1", tmp_path / "logs-%Y-%m-%d.db") == 1
    assert "there is no" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_an_output_that_is_part_of_a_database_is_refused(suffix: str, database: Path) -> None:
    target = database.with_name(f"{database.name}{suffix}")
    target.write_bytes(b"what was committed last")
    assert query._may_be_replaced(target) is False
    database.unlink()
    assert query._may_be_replaced(target) is True


@pytest.mark.parametrize("kind", ["database", "link", "device"])
def test_an_output_that_is_a_database_or_no_plain_file_is_refused(
    kind: str, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = {"database": database, "link": database.parent / "link", "device": Path("/dev/null")}[kind]
    if kind == "link":
        target.symlink_to(database.parent / "elsewhere")
    before = database.read_bytes()
    assert ask("select 1", database, "--format", "csv", "--output", str(target)) == 1
    assert "no regular file" in capsys.readouterr().err
    assert database.read_bytes() == before
    assert not (database.parent / "elsewhere").exists()


@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_the_format_by_its_name_and_a_file_to_write_to(
    form: str, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = database.parent / "out"
    assert ask("select sensor from readings", database, "--format", form, "--output", str(target)) == 0
    assert capsys.readouterr().out == ""
    assert ask("select sensor from readings", database, "--format", form) == 0
    assert capsys.readouterr().out == target.read_text()
    assert "s-3" in target.read_text()


def test_parquet_has_the_types_of_the_values_and_comes_in_row_groups(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is in the extra frames")
    monkeypatch.setattr("streamd.cli._parquet.ROW_GROUP_ROWS", 2)
    target = database.parent / "out.parquet"
    sql = "select sensor, value, raw, 7 as n, null as unknown from readings"
    assert ask(sql, database, "--format", "parquet", "--output", str(target)) == 0
    table = parquet.read_table(target)
    assert [str(kind) for kind in table.schema.types] == [
        "string",
        "double",
        "binary",
        "int64",
        "null",
    ]
    assert table["sensor"].to_pylist() == ["s-1", "数据", "s-3"]
    assert table["value"].to_pylist() == [21.5, None, 1.0]
    assert parquet.ParquetFile(target).num_row_groups == 2


def test_parquet_without_rows_is_a_file_without_rows(database: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is in the extra frames")
    target = database.parent / "out.parquet"
    assert ask("select sensor from readings where 0", database, "--format=parquet", f"--output={target}") == 0
    assert parquet.read_table(target).num_rows == 0


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select 1 as x union all select 'a'", "'x' has int and str"),
        ("select 1 as x union all select 2 union all select 'a'", "'x' is int64 in its first 2 rows"),
        ("select null as x union all select null union all select 3", "'x' is null in its first 2 rows"),
        ("select 1 union all select json('{')", "malformed JSON"),
    ],
)
def test_what_cannot_be_parquet_is_told_and_leaves_no_file(
    sql: str,
    words: str,
    database: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is in the extra frames")
    monkeypatch.setattr("streamd.cli._parquet.ROW_GROUP_ROWS", 2)
    target = database.parent / "out.parquet"
    assert ask(sql, database, "--format=parquet", f"--output={target}") == 2
    assert words in capsys.readouterr().err
    assert not list(database.parent.glob("out*"))


def test_parquet_needs_a_file_to_go_to_and_its_package(
    database: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask("select 1", database, "--format=parquet") == 2
    assert "--output" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert ask("select 1", database, "--format=parquet", f"--output={database.parent / 'x'}") == 1
    assert "-m pip install pyarrow" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_exit_1(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("select 1", database, "--csv", f"--output={database.parent / 'none' / 'x'}") == 1
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select * from reading", "did you mean readings?); there are readings in {folder}/streamd.db"),
        ("select sensr from readings", "did you mean sensor?); readings has sensor, value, raw"),
        ('select * from readings where sensor = "s-1" and valeu > 1', "readings has sensor, value, raw"),
    ],
)
def test_an_unknown_name_is_answered_with_those_there_are(
    sql: str, said: str, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(sql, database) == 2
    error = capsys.readouterr().err
    assert said.format(folder=database.parent) in error
    assert error.count("\n") == 1


def test_an_unknown_table_names_every_file_that_was_looked_at(
    configured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["query", "select * from nowhere", "--config", str(configured)]) == 2
    error = capsys.readouterr().err
    for file in ("a.db", "b.db", "books.db", "gone.db"):
        assert f"in {configured.parent / file}" in error
    assert "main_.everywhere" in error
