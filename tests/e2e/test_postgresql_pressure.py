"""PostgreSQL stops, locks or slows the table while TCP senders send more than all buffers hold."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.conftest import until
from tests.e2e.senders import Sender
from tests.postgresql_server import PostgresqlServer, needs_postgresql

pytestmark = needs_postgresql

LINES = 8000
CONFIG = """
[admin]
listen = "127.0.0.1:0"
[daemon]
drain_timeout = "120s"
[schemas.line]
sender = "str"
seq = "int"
fill = "str"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
schema = "line"
buffer = { max_records = 500, max_bytes = "1MiB" }
[pipelines.main]
sources = ["floor"]
sinks = ["store"]
[sinks.store]
type = "postgresql"
address = "ADDRESS"
database = "postgres"
user = "postgres"
table = "TABLE"
schema = "line"
extra = "reject"
buffer = { max_records = 1000, max_bytes = "4MiB" }
batch = { max_records = 500, max_wait = "5ms" }
"""
GONE = {"connection", "unreachable", "commit_in_doubt"}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    server = PostgresqlServer()
    yield server
    server.remove()


@contextlib.contextmanager
def stopped(server: PostgresqlServer, mode: str) -> Iterator[None]:
    server.stop(mode)
    yield
    server.start()


@contextlib.contextmanager
def locked(server: PostgresqlServer, table: str) -> Iterator[None]:
    with server.connect() as other:
        other.execute("BEGIN")
        other.execute(f"LOCK TABLE {table}")
        yield
        other.execute("COMMIT")


@contextlib.contextmanager
def slow(server: PostgresqlServer, table: str) -> Iterator[None]:
    """Each COPY takes 3 s more."""
    server.query(
        f"CREATE FUNCTION f_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" PERFORM pg_sleep(seconds) FROM delay_{table}; RETURN NULL; END $$"
    )
    server.query(f"CREATE TABLE delay_{table} AS SELECT 3 AS seconds")
    server.query(
        f"CREATE TRIGGER slow BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION f_{table}()"
    )
    yield
    server.query(f"UPDATE delay_{table} SET seconds = 0")


@pytest.mark.parametrize(
    ("how", "reasons"), [("fast", GONE), ("immediate", GONE), ("locked", {"locked"}), ("slow", set())]
)
def test_senders_wait_for_the_server_and_nothing_is_lost_or_doubled(
    start: Callable[..., Any], server: PostgresqlServer, how: str, reasons: set[str]
) -> None:
    table = server.new_name()
    daemon = start(CONFIG.replace("ADDRESS", server.address).replace("TABLE", table))

    def stored() -> int:
        count: int = server.query(f"SELECT count(*) FROM {table}")[0][0]
        return count

    daemon.tcp(b'{"sender":"first","seq":0,"fill":""}\n')
    until(stored, "the first row")
    trouble = {"locked": locked, "slow": slow}.get(how)
    with stopped(server, how) if trouble is None else trouble(server, table):
        senders = [Sender(daemon.address("floor"), name, LINES) for name in ("a", "b")]
        for sender in senders:
            until(sender.is_pushed_back, "push-back")
        if how == "slow":
            before = stored()
            until(lambda: stored() > before, "progress")
        else:
            until(lambda: len(daemon.events("sink_retrying")) >= 2, "retries")
        assert all(sender.is_alive() for sender in senders)
    if trouble is None:  # once more, in the middle of what has waited
        until(lambda: stored() >= 1000, "rows that have waited")
        with stopped(server, how):
            pass
    for sender in senders:
        sender.finish()
    until(lambda: stored() == 2 * LINES + 1, "all rows")
    daemon.stop()
    rows = server.query(
        f"SELECT sender, count(*), count(DISTINCT seq), min(seq), max(seq) FROM {table} GROUP BY 1 ORDER BY 1"
    )
    of_each = (LINES, LINES, 0, LINES - 1)
    assert rows == [("a", *of_each), ("b", *of_each), ("first", 1, 1, 0, 0)]
    assert daemon.books()["floor", "main", "store", "stored"] == 2 * LINES + 1
    assert {event["reason"] for event in daemon.events("sink_retrying")} <= reasons
    assert "Traceback" not in daemon.stderr
