import os
import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streamd.lookup_tables.table import TableFault, TableSettings, key_text, read_table


def of_csv(path: Path, text: str | bytes, **more: Any) -> TableSettings:
    path = path / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return TableSettings(path, None, more.pop("key", ("id",)), more.pop("columns", ("site",)), **more)


def of_sqlite(path: Path, *statements: str, table: str = "t", **more: Any) -> TableSettings:
    path = path / "table.db"
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()
    return TableSettings(path, table, more.pop("key", ("id",)), more.pop("columns", ("site",)), **more)


@pytest.mark.parametrize("table", [None, "t"])
def test_what_never_ends_is_no_table(tmp_path: Path, table: str | None) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(TableFault, match="not a file, but a device, a pipe or a socket") as fault:
            read_table(TableSettings(path, table, ("id",), ("site",)))
        assert fault.value.reason == "unreadable"
    with pytest.raises(TableFault) as fault:
        read_table(TableSettings(tmp_path, table, ("id",), ("site",)))
    assert fault.value.reason == "unreadable"


def test_a_csv_file(tmp_path: Path) -> None:
    text = '\ufeffsite, id ,x\r\nroof,a,1\r\n\r\n"yard, north",007,\r\n'
    assert read_table(of_csv(tmp_path, text)) == {"a": ("roof",), "007": ("yard, north",)}
    auto = of_csv(tmp_path, text, key=("id", "site"), columns=("x", "id"), types="auto")
    assert read_table(auto) == {("a", "roof"): (1, "a"), ("007", "yard, north"): (None, "007")}
    other = of_csv(tmp_path, "id;site\na;b,c\n", delimiter=";")
    assert read_table(other) == {"a": ("b,c",)}
    assert read_table(of_csv(tmp_path, "id,site\n")) == {}


def test_a_table_or_view_of_sqlite(tmp_path: Path) -> None:
    settings = of_sqlite(
        tmp_path,
        'CREATE TABLE t (id, site, "odd ""name")',
        "INSERT INTO t VALUES (1, 'roof', 2.5), ('b', NULL, x'00'), (NULL, 'nowhere', 1), (2.0, 'two', 1)",
        "CREATE VIEW v AS SELECT id, site FROM t WHERE site IS NOT NULL",
        columns=("site", 'odd "name'),
    )
    assert read_table(settings) == {"1": ("roof", 2.5), "b": (None, b"\0"), "2": ("two", 1)}
    view = TableSettings(settings.path, "v", ("id",), ("site",))
    assert read_table(view) == {"1": ("roof",), "2": ("two",)}


def test_a_database_that_another_process_writes_in_wal_mode(tmp_path: Path) -> None:
    settings = of_sqlite(tmp_path, "CREATE TABLE t (id, site)")
    with closing(sqlite3.connect(settings.path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("INSERT INTO t VALUES ('a', 'roof')")
        writer.commit()
        writer.execute("INSERT INTO t VALUES ('b', 'open')")
        assert read_table(settings) == {"a": ("roof",)}


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        ("", "columns", "no column 'id': there are none"),
        ("ID,site\n", "columns", "no column 'id'"),
        ("id,sites\n", "columns", "no column 'site': did you mean 'sites'?"),
        ("id,site,site\n", "columns", "two columns have the name 'site'"),
        ("id,site\na\n", "rows", "line 2: 1 value for 2 columns"),
        ("id,site\na,b\nc,d,e\n", "rows", "line 3: 3 values for 2 columns"),
        ("id,site\na,b\nc,d\na,e\n", "duplicate", "line 4: the key 'a' occurs twice"),
        ('id,site\na,"b\n', "unreadable", "unexpected end of data"),
        (b"id,site\na,\xff\n", "unreadable", "can't decode"),
        ("id,site\n" + "a" * 2000 + ",b\n", "size", r"larger than max_size \(1,000 bytes\)"),
        ("id,site\n" + "".join(f"{n},b\n" for n in range(20)), "size", "larger than max_size"),
    ],
)
def test_a_csv_file_that_cannot_be_used(tmp_path: Path, text: Any, reason: str, words: str) -> None:
    with pytest.raises(TableFault, match=words) as fault:
        read_table(of_csv(tmp_path, text, max_size_bytes=1000))
    assert fault.value.reason == reason
    assert str(fault.value).startswith(str(tmp_path / "table.csv"))


@pytest.mark.parametrize(
    ("statement", "reason", "words"),
    [
        ("CREATE TABLE other (id, site)", "columns", "there is no table 't'"),
        ("CREATE TABLE t (id, sites)", "columns", "no column 'site': did you mean 'sites'?"),
        (
            "CREATE TABLE t AS SELECT 1 AS id, 2 AS site UNION ALL SELECT '1', 3",
            "duplicate",
            "'1' occurs twice",
        ),
    ],
)
def test_a_database_that_cannot_be_used(tmp_path: Path, statement: str, reason: str, words: str) -> None:
    with pytest.raises(TableFault, match=words) as fault:
        read_table(of_sqlite(tmp_path, statement))
    assert fault.value.reason == reason


def test_a_file_that_is_not_there_or_no_database(tmp_path: Path) -> None:
    for table in (None, "t"):
        settings = TableSettings(tmp_path / "none", table, ("id",), ("site",))
        with pytest.raises(TableFault, match="none: No such file or directory") as fault:
            read_table(settings)
        assert fault.value.reason == "missing"
        with pytest.raises(TableFault) as fault:
            read_table(TableSettings(tmp_path, table, ("id",), ("site",)))
        assert fault.value.reason == "unreadable"
    text = of_csv(tmp_path, "id,site\n" * 200)
    with pytest.raises(TableFault, match="not a database"):
        read_table(TableSettings(text.path, "t", ("id",), ("site",)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"), ("", ""), (7, "7"), (7.0, "7"), (-0.5, "-0.5"), (True, "true"), (False, "false"),
        (None, None), ([1], None), ({}, None), (b"a", None), (float("nan"), "nan"), (1e400, "inf"),
        (2**70, str(2**70)),
    ],
)  # fmt: skip
def test_the_text_of_a_key(value: Any, text: str | None) -> None:
    assert key_text(value) == text
    assert key_text(10**5000) is None


def test_the_memory_stays_within_the_estimate(tmp_path: Path) -> None:
    count = 20_000
    lines = "".join(f"sensor-{n},site {n}\n" for n in range(count))
    tight = of_csv(tmp_path, "id,site\n" + lines, max_size_bytes=7 * 2**20)
    tracemalloc.start()
    try:
        rows = read_table(tight)
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(rows) == count
    assert size < 7 * 2**20
    with pytest.raises(TableFault, match="max_size"):
        read_table(of_csv(tmp_path, "id,site\n" + lines, max_size_bytes=5 * 2**20))
