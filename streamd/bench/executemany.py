"""Baseline: a bare `sqlite3.executemany` loop that inserts the rows of a daemon's table into an equal table.

Run it as a separate process: `python -m streamd.bench.executemany FROM TABLE TO KIND`. The rows are in memory
as tuples before the clock starts, 200,000 at a time. This limits the memory and exceeds a processor's cache.
KIND selects the source of the tuples:

- `parsed`: the lines of the sensor stream, parsed by `json.loads` as in a plain Python program;
- `stored`: the daemon's own rows, read from SQLite;
- `lines`: as `parsed`, but the lines are in memory and the measured time includes parsing.
"""

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Literal

from streamd.sensors import SensorStream

ROWS_IN_MEMORY = 200_000
ROWS_PER_TRANSACTION = 10_000

Kind = Literal["parsed", "stored", "lines"]
Rows = list[tuple[Any, ...]]


def measure(source: str, table: str, target: str, kind: Kind) -> dict[str, float]:
    """CPU and wall seconds of the loop, and its rows. Journal mode and synchronous are as in the daemon."""
    with (
        closing(sqlite3.connect(source)) as old,
        closing(sqlite3.connect(target, isolation_level=None)) as new,
    ):
        new.execute("PRAGMA journal_mode=WAL")
        new.execute("PRAGMA synchronous=NORMAL")
        (table_sql,) = old.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        new.execute(table_sql)
        rows, cpu_s, wall_s = 0, 0.0, 0.0
        names: list[str]
        parts: Iterator[Any]
        names, parts = _stored(old, table) if kind == "stored" else _lines(old, table)
        insert = f"INSERT INTO {table} ({','.join(names)}) VALUES ({','.join('?' * len(names))})"  # noqa: S608 - own table
        for read in parts:
            part = list(map(_row, read)) if kind == "parsed" else read
            started_s, started_wall_s = time.process_time(), time.monotonic()
            for at in range(0, len(part), ROWS_PER_TRANSACTION):
                some = part[at : at + ROWS_PER_TRANSACTION]
                new.execute("BEGIN")
                new.executemany(insert, map(_row, some) if kind == "lines" else some)
                new.execute("COMMIT")
            cpu_s += time.process_time() - started_s
            wall_s += time.monotonic() - started_wall_s
            rows += len(part)
    return {"rows": rows, "cpu_s": cpu_s, "wall_s": wall_s}


def _row(line: Any) -> tuple[Any, ...]:
    return tuple(json.loads(line).values())


def _stored(old: sqlite3.Connection, table: str) -> tuple[list[str], Iterator[Rows]]:
    cursor = old.execute(f"SELECT * FROM {table} ORDER BY rowid")  # noqa: S608 - a table of ours
    return [column[0] for column in cursor.description], iter(lambda: cursor.fetchmany(ROWS_IN_MEMORY), [])


def _lines(old: sqlite3.Connection, table: str) -> tuple[list[str], Iterator[list[bytes]]]:
    (count,) = old.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - a table of ours
    stream = SensorStream()
    sizes = [min(ROWS_IN_MEMORY, count - at) for at in range(0, count, ROWS_IN_MEMORY)]
    return list(json.loads(SensorStream().lines(1)[0])), map(stream.lines, sizes)


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:5])))  # type: ignore[arg-type]  # noqa: T201 - the result, for the parent
