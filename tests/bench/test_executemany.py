import sqlite3
from contextlib import closing
from pathlib import Path

from streamd.bench.executemany import measure


def test_the_same_rows_stand_in_the_same_table(tmp_path: Path) -> None:
    source, target = tmp_path / "a.db", tmp_path / "b.db"
    rows = [(f"2026-{number}", number, number / 3, None) for number in range(25_001)]
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("CREATE TABLE readings (ts TEXT, seq INTEGER, value REAL, note TEXT) STRICT")
        connection.executemany("INSERT INTO readings VALUES (?, ?, ?, ?)", rows)
        connection.commit()
    found = measure(str(source), "readings", str(target))
    assert found["rows"] == 25_001
    assert 0 < found["cpu_s"] < 60
    with closing(sqlite3.connect(target)) as connection:
        assert connection.execute("SELECT * FROM readings ORDER BY seq").fetchall() == rows
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'readings'").fetchone()
        assert sql.endswith("STRICT")
