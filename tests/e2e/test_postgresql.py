"""A daemon that stores in a real PostgreSQL server, which is restarted under load."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.conftest import until
from tests.postgresql_server import PostgresqlServer, needs_postgresql

pytestmark = needs_postgresql

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[schemas.reading]
n = "int"
value = "float"
at = "timestamp"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
schema = "reading"
[pipelines.main]
sources = ["floor"]
sinks = ["store"]
[sinks.store]
type = "postgresql"
address = "ADDRESS"
database = "postgres"
user = "postgres"
table = "TABLE"
schema = "reading"
extra = "reject"
batch = { max_records = 500, max_wait = "5ms" }
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    server = PostgresqlServer()
    yield server
    server.remove()


def line(n: int) -> bytes:
    return b'{"n":%d,"value":1.5,"at":"2026-01-31T08:00:00.%06dZ"}\n' % (n, n)


def test_a_restart_of_the_server_under_load_loses_and_repeats_nothing(
    start: Callable[..., Any], server: PostgresqlServer
) -> None:
    table = server.new_name()
    daemon = start(CONFIG.replace("ADDRESS", server.address).replace("TABLE", table))

    def stored() -> int:
        count: int = server.query(f"SELECT count(*) FROM {table}")[0][0]
        return count

    daemon.tcp(b"".join(line(n) for n in range(5000)))
    until(lambda: stored() >= 500, "rows")
    server.stop("immediate")
    daemon.tcp(b"".join(line(n) for n in range(5000, 10_000)) + b'{"n":1,"value":1,"at":"no time"}\n')
    until(lambda: daemon.events("sink_retrying"), "a retry")
    server.start()
    until(lambda: stored() == 10_000, "all rows")
    daemon.stop()
    rows = server.query(f"SELECT count(*), count(DISTINCT n), min(n), max(n) FROM {table}")
    assert rows == [(10_000, 10_000, 0, 9999)]
    assert daemon.events("sink_recovered")
    daemon.assert_balanced()


def test_what_a_locked_table_keeps_out_is_named_at_the_stop(
    start: Callable[..., Any], server: PostgresqlServer
) -> None:
    table = server.new_name()
    text = CONFIG.replace("ADDRESS", server.address).replace("TABLE", table)
    daemon = start(text + '[daemon]\ndrain_timeout = "1s"\n')
    daemon.tcp(b"".join(line(n) for n in range(10)))
    until(lambda: server.query(f"SELECT count(*) FROM {table}") == [(10,)], "rows")
    with server.connect() as other:
        other.execute("BEGIN")
        other.execute(f"LOCK TABLE {table}")
        daemon.tcp(b"".join(line(n) for n in range(10, 17)))
        until(lambda: daemon.events("sink_retrying"), "a retry")
        daemon.stop(expect=1)
        other.execute("COMMIT")
    assert daemon.events("sink_retrying")[0]["reason"] == "locked"
    assert server.query(f"SELECT count(*) FROM {table}") == [(10,)]
    assert daemon.reasons("dropped") == {"shutdown": 7}


def test_what_retention_drops_is_in_the_books(start: Callable[..., Any], server: PostgresqlServer) -> None:
    table = server.new_name()
    text = CONFIG.replace("ADDRESS", server.address).replace("TABLE", table)
    now = datetime.now(UTC)
    old, new = (moment.isoformat().encode() for moment in (now - timedelta(days=10), now))
    lines = [b'{"n":%d,"value":1.5,"at":"%s"}\n' % (n, old if n < 500 else new) for n in range(700)]
    too_old = b'{"n":700,"value":1.5,"at":"2020-01-31T08:00:00Z"}\n'

    def divided(max_age: str) -> str:
        options = f'partition = {{ width = "1d", column = "at" }}\nretention = {{ max_age = "{max_age}" }}\n'
        return text.replace('extra = "reject"\n', f'extra = "reject"\n{options}')

    daemon = start(divided("30d"))
    daemon.tcp(b"".join([*lines, too_old]))
    until(lambda: server.query(f"SELECT count(*) FROM {table}") == [(700,)], "rows")
    daemon.stop()
    assert [reason for _, reason, _ in daemon.dead_letters("floor")] == ["row:too_old"]
    daemon = start(divided("2d"))
    event = until(lambda: daemon.events("table_partition_expired"), "a dropped partition")[0]
    assert (event["sink"], event["table"], event["rows"]) == ("store", table, 500)
    daemon.stop()
    assert "sink store: of stored, 500 expired since\n" in daemon.stderr
    assert server.query(f"SELECT count(*), min(n) FROM {table}") == [(200, 500)]
    terms = dict(daemon.query("SELECT counter, sum(n) FROM ledger WHERE sink = 'store' GROUP BY 1"))
    assert terms["stored"] - terms["expired"] == 200


def test_a_wrong_database_is_one_clear_line(start: Callable[..., Any], server: PostgresqlServer) -> None:
    text = CONFIG.replace("ADDRESS", server.address).replace('database = "postgres"', 'database = "absent"')
    daemon = start(text, ready=False)
    assert daemon.process.wait(60) == 1
    said = [one for one in daemon.stderr.splitlines() if "absent" in one]
    assert len(said) == 1
    assert f'PostgreSQL at {server.address}: database "absent" does not exist' in said[0]
    assert "Traceback" not in daemon.stderr
