import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from streamd.bench import executemany
from streamd.bench.executemany import Kind, measure
from streamd.sensors import SensorStream

ROWS = 2501


@pytest.mark.parametrize("kind", ["parsed", "stored", "lines"])
def test_the_same_rows_stand_in_the_same_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    monkeypatch.setattr(executemany, "ROWS_IN_MEMORY", 1000)
    monkeypatch.setattr(executemany, "ROWS_PER_TRANSACTION", 300)
    source, target = tmp_path / "a.db", tmp_path / "b.db"
    lines = SensorStream().lines(ROWS)
    with closing(sqlite3.connect(source)) as connection:
        connection.execute(
            "CREATE TABLE readings (ts TEXT, sensor TEXT, seq INTEGER, value REAL, unit TEXT,"
            " ok INTEGER, site TEXT) STRICT"
        )
        connection.executemany(
            "INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?, ?)",
            [tuple(json.loads(line).values()) for line in lines],
        )
        connection.commit()
        rows = connection.execute("SELECT * FROM readings ORDER BY seq").fetchall()
    found = measure(str(source), "readings", str(target), kind)
    assert found["rows"] == ROWS
    assert 0 < found["cpu_s"] < 60
    assert 0 < found["wall_s"] < 60
    with closing(sqlite3.connect(target)) as connection:
        assert connection.execute("SELECT * FROM readings ORDER BY seq").fetchall() == rows
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'readings'").fetchone()
        assert sql.endswith("STRICT")
