"""Two processes store in one lake, one table of a server and one stream, and every record is there once."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import until
from tests.nats_server import NatsServer, needs_server
from tests.postgresql_server import PostgresqlServer, needs_postgresql

Start = Callable[..., Any]

CONFIG = """
[daemon]
processes = 2
[admin]
listen = "127.0.0.1:0"
[schemas.reading]
n = "int"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
schema = "reading"
[pipelines.main]
sources = ["floor"]
sinks = ["store"]
[sinks.store]
batch = { max_wait = "20ms" }
"""
RECORDS = 2000


def send(daemon: Any) -> None:
    """Twenty connections, of which both processes get some: never all of them but once in half a million."""
    each = RECORDS // 20
    for start in range(0, RECORDS, each):
        with socket.create_connection(daemon.address("floor"), timeout=30) as connection:
            connection.sendall(b"".join(b'{"n":%d}\n' % n for n in range(start, start + each)))
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""


def stop(daemon: Any) -> None:
    daemon.process.terminate()
    assert daemon.process.wait(60) == 0, daemon.stderr
    assert "books balance" in daemon.stderr
    assert f"offered {RECORDS:,} = stored {RECORDS:,} + rejected 0 + dropped 0 + pending 0" in daemon.stderr


def test_parquet_files(start: Start, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    store = 'type = "parquet"\nschema = "reading"\npath = "lake/readings.parquet"\n'
    daemon = start(CONFIG + store)
    send(daemon)
    stop(daemon)
    files = sorted((tmp_path / "var/lake").glob("*.parquet"))
    found = [n for file in files for n in parquet.read_table(file)["n"].to_pylist()]
    assert sorted(found) == list(range(RECORDS))


@pytest.fixture
def postgresql() -> Iterator[PostgresqlServer]:
    server = PostgresqlServer()
    yield server
    server.remove()


@needs_postgresql
def test_a_table_of_postgresql(start: Start, postgresql: PostgresqlServer) -> None:
    table = postgresql.new_name()
    store = (
        f'type = "postgresql"\nschema = "reading"\naddress = "{postgresql.address}"\ntable = "{table}"\n'
        'database = "postgres"\nuser = "postgres"\nunique = ["n"]\n'
    )
    daemon = start(CONFIG + store)
    send(daemon)
    users = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'streamd store'"
    until(lambda: postgresql.query(users) == [(2,)], "a connection of each process")
    stop(daemon)
    rows = postgresql.query(f"SELECT count(*), count(DISTINCT n) FROM {table}")  # noqa: S608
    assert rows == [(RECORDS, RECORDS)]


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    made = NatsServer(tmp_path / "nats")
    yield made
    made.stop()


@needs_server
def test_a_stream_of_nats(start: Start, nats: NatsServer) -> None:
    store = (
        f'type = "nats"\nservers = ["{nats.address}"]\nstream = "READINGS"\nsubject = "readings"\n'
        'create = { max_bytes = "64MiB" }\n'
    )
    daemon = start(CONFIG + store)
    send(daemon)
    stop(daemon)

    async def stream_of() -> list[int]:
        import nats as client  # noqa: PLC0415 - an extra

        connection = await client.connect(f"nats://{nats.address}")
        try:
            stream = connection.jetstream()
            count = (await stream.stream_info("READINGS")).state.messages
            found = [await stream.get_msg("READINGS", number) for number in range(1, count + 1)]
            return [json.loads(line)["n"] for message in found for line in (message.data or b"").splitlines()]
        finally:
            await connection.close()

    assert sorted(asyncio.run(stream_of())) == list(range(RECORDS))
