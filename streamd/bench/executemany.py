"""Baseline: the rows of a daemon's table, put into the same table by a bare `sqlite3.executemany` loop.

Run as a process of its own: `python -m streamd.bench.executemany FROM TABLE TO`. The rows are read from
the daemon's database in chunks of one transaction, already as tuples; reading is not measured.
"""

import json
import sqlite3
import sys
import time
from contextlib import closing

ROWS_PER_TRANSACTION = 10_000


def measure(source: str, table: str, target: str) -> dict[str, float]:
    """CPU seconds of the loop, and the rows it wrote. Journal mode and synchronous are the daemon's."""
    with (
        closing(sqlite3.connect(source)) as old,
        closing(sqlite3.connect(target, isolation_level=None)) as new,
    ):
        new.execute("PRAGMA journal_mode=WAL")
        new.execute("PRAGMA synchronous=NORMAL")
        (table_sql,) = old.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        new.execute(table_sql)
        cursor = old.execute(f"SELECT * FROM {table} ORDER BY rowid")  # noqa: S608 - a table of ours
        insert = f"INSERT INTO {table} VALUES ({','.join('?' * len(cursor.description))})"  # noqa: S608 - the same
        rows, cpu_s = 0, 0.0
        while chunk := cursor.fetchmany(ROWS_PER_TRANSACTION):
            started_s = time.process_time()
            new.execute("BEGIN")
            new.executemany(insert, chunk)
            new.execute("COMMIT")
            cpu_s += time.process_time() - started_s
            rows += len(chunk)
    return {"rows": rows, "cpu_s": cpu_s}


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:4])))  # noqa: T201 - this is its result
