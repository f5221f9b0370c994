"""The sink `postgresql` while its server is stopped, ends connections, holds locks or breaks a commit.

With it `postgresql/store.py`, `postgresql/session.py` and `postgresql/faults.py`.
"""

import asyncio
import contextlib
import itertools
import os
import random
import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamd.core.batch import Batch
from streamd.core.contracts import SinkContext
from streamd.core.errors import EnvironmentFault, SinkError
from streamd.sinks.postgresql import Postgresql
from tests.postgresql_server import PostgresqlServer, needs_postgresql, wait_until, written_at_last

pytestmark = needs_postgresql

BatchOf = Callable[..., Batch]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    """A server of this module, which its tests stop and start."""
    server = PostgresqlServer()
    yield server
    server.remove()


@pytest.fixture
def table(server: PostgresqlServer) -> str:
    return server.new_name()


class Relay:
    """A TCP relay to the server. It can break the connection around the answer to a COMMIT."""

    def __init__(self, server: PostgresqlServer) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.commit_reaches_server: bool | None = None
        """Set: the next COMMIT breaks the connection, before or after it reached the server."""
        self.broken = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            upstream = socket.socket(socket.AF_UNIX)
            try:
                upstream.connect(self._server.socket)
            except OSError:
                client.close()
                continue
            self._open += [client, upstream]
            threading.Thread(target=self._pump, args=(client, upstream, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(upstream, client, False), daemon=True).start()

    def _pump(self, start: socket.socket, end: socket.socket, to_server: bool) -> None:
        while True:
            try:
                data = start.recv(65536)
                if to_server and b"COMMIT\0" in data and self.commit_reaches_server is not None:
                    reaches, self.commit_reaches_server = self.commit_reaches_server, None
                    self.broken += 1
                    self._end(start)  # the client learns nothing any more
                    if not reaches:
                        self._end(end)
                        return
                    end.sendall(data)
                    continue
                if not data:
                    break
                end.sendall(data)
            except OSError:
                break
        self._end(start)
        self._end(end)

    @staticmethod
    def _end(one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            self._end(one)
            one.close()


@pytest.fixture
def relay(server: PostgresqlServer) -> Iterator[Relay]:
    relay = Relay(server)
    yield relay
    relay.close()


@pytest.fixture
async def new_sink(server: PostgresqlServer, bench: Any, tmp_path: Path) -> AsyncIterator[Any]:
    opened: list[Postgresql] = []

    def make(**options: Any) -> Postgresql:
        login = {"address": server.socket, "database": "postgres", "user": "postgres"}
        more = {"columns": {"n": "int"}, "extra": "drop", "connect_timeout": "2s"}
        config = Postgresql.Config.model_validate({"type": "postgresql", **login, **more, **options})
        opened.append(Postgresql(config, SinkContext("store", {}, tmp_path, bench.office, bench.shared)))
        return opened[-1]

    yield make
    for sink in opened:
        await sink.close()


def numbers(server: PostgresqlServer, table: str) -> list[int]:
    return [n for (n,) in server.query(f"SELECT n FROM {table} ORDER BY n")]


@pytest.mark.parametrize("unique", [[], ["n"]])
@pytest.mark.parametrize("reaches", [True, False])
async def test_a_commit_in_doubt_is_settled(
    server: PostgresqlServer,
    relay: Relay,
    new_sink: Any,
    table: str,
    batch_of: BatchOf,
    reaches: bool,
    unique: Any,
) -> None:
    sink = new_sink(address=relay.address, table=table, unique=unique)
    await sink.open()
    await sink.write([batch_of([{"n": 0}])])
    relay.commit_reaches_server = reaches
    written, reasons = await written_at_last(sink, [batch_of([{"n": n} for n in range(1, 100)])])
    assert relay.broken == 1
    assert reasons[0] == "connection"
    assert (written.rejected_counts, written.replaced) == ([0], [0])
    assert numbers(server, table) == list(range(100))
    assert sink.context.counters["commits_settled", ""] == 1
    await sink.write([batch_of([{"n": 100}])])
    assert numbers(server, table) == list(range(101))


async def test_a_commit_in_doubt_with_bad_rows_makes_each_letter_once(
    server: PostgresqlServer, relay: Relay, new_sink: Any, table: str, batch_of: BatchOf, bench: Any
) -> None:
    sink = new_sink(address=relay.address, table=table)
    await sink.open()
    for reaches in (True, False):
        relay.commit_reaches_server = reaches
        written, reasons = await written_at_last(sink, [batch_of([{"n": 1}, {"n": "x"}, {"n": 2}])])
        assert reasons[0] == "connection"
        assert written.rejected == [[1]]
    assert numbers(server, table) == [1, 1, 2, 2]
    assert len(bench.office.letters) == 2


async def test_a_transaction_that_still_runs_on_the_server_is_ended(
    server: PostgresqlServer, new_sink: Any, table: str, batch_of: BatchOf
) -> None:
    """The server has not noticed that the connection is gone, so the transaction is still in progress."""
    sink = new_sink(table=table)
    await sink.open()
    batches = [batch_of([{"n": 1}])]
    await sink.write(batches)
    with server.connect() as other:
        other.execute("BEGIN")
        other.execute(f"INSERT INTO {table} VALUES (5)")
        (xid,) = other.execute("SELECT pg_current_xact_id()::text").fetchone() or ("",)
        store, session = sink._store, sink._session
        assert store is not None
        assert session is not None
        attempt = await session.run(lambda: store.begin(batches, {}))
        attempt.xid, attempt.committed, store.in_doubt = xid, False, attempt
        _, reasons = await written_at_last(sink, batches)
    assert reasons[0] == "commit_in_doubt"
    assert numbers(server, table) == [1, 1, 1]


@pytest.mark.parametrize("unique", [[], ["n"]])
@pytest.mark.parametrize("reaches", [True, False])
async def test_a_commit_in_doubt_is_settled_after_a_crash_of_the_server(
    server: PostgresqlServer,
    relay: Relay,
    new_sink: Any,
    table: str,
    batch_of: BatchOf,
    reaches: bool,
    unique: Any,
) -> None:
    """The number of the transaction may be that of another one then."""
    sink = new_sink(address=relay.address, table=table, unique=unique)
    await sink.open()
    relay.commit_reaches_server = reaches
    batches = [batch_of([{"n": n} for n in range(100)])]
    with pytest.raises(SinkError, match="connection"):
        await sink.write(batches)
    if reaches:
        await asyncio.to_thread(wait_until, lambda: len(numbers(server, table)) == 100)
    await asyncio.to_thread(server.stop, "immediate")
    await asyncio.to_thread(server.start)
    if not reaches:
        # As if the server had given the number again, to a transaction that was committed.
        ((xid,),) = server.query("SELECT pg_current_xact_id()::text")
        sink._store.in_doubt.xid = xid
    await written_at_last(sink, batches)
    assert numbers(server, table) == list(range(100))
    assert sink.context.counters["commits_settled", ""] == 1


async def test_connections_that_end_at_any_moment_lose_and_repeat_nothing(
    server: PostgresqlServer, new_sink: Any, table: str, batch_of: BatchOf
) -> None:
    sink = new_sink(table=table)
    await sink.open()
    chance = random.Random(13)  # noqa: S311 - the moments are to be the same ones each time
    ended = 0

    def end_connection() -> None:
        """Once, at a moment that may be in any part of the write."""
        nonlocal ended
        with server.connect() as other:
            for _ in range(chance.randrange(20)):
                other.execute("SELECT 1")
            sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
            ended += len(other.execute(sql, ("streamd store",)).fetchall())

    sizes = [chance.randrange(1, 3000) for _ in range(40)]
    start = itertools.count()
    for size in sizes:
        batches = [batch_of([{"n": next(start)} for _ in range(size)])]
        await asyncio.gather(written_at_last(sink, batches), asyncio.to_thread(end_connection))
    assert ended
    assert numbers(server, table) == list(range(sum(sizes)))


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_restart_under_load_loses_and_repeats_nothing(
    server: PostgresqlServer, new_sink: Any, table: str, batch_of: BatchOf, mode: str
) -> None:
    sink = new_sink(table=table)
    await sink.open()
    done, over = 0, asyncio.Event()

    async def load() -> list[str]:
        nonlocal done
        seen = []
        while not over.is_set():
            _, reasons = await written_at_last(sink, [batch_of([{"n": n} for n in range(done, done + 500)])])
            seen += reasons
            done += 500
        return seen

    loading = asyncio.create_task(load())
    while done < 2000:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(server.stop, mode)
    await asyncio.to_thread(server.start)
    before = done
    while done < before + 2000:
        await asyncio.sleep(0.01)
    over.set()
    reasons = await loading
    assert set(reasons) <= {"connection", "unreachable", "commit_in_doubt"}
    assert reasons
    assert numbers(server, table) == list(range(done))


async def test_a_locked_table_is_waited_for_and_then_tried_again(
    server: PostgresqlServer, new_sink: Any, table: str, batch_of: BatchOf
) -> None:
    sink = new_sink(table=table)
    await sink.open()
    batches = [batch_of([{"n": n} for n in range(10)])]
    with server.connect() as other:
        other.execute("BEGIN")
        other.execute(f"LOCK TABLE {table}")
        with pytest.raises(SinkError) as refused:
            await sink.write(batches)
        assert refused.value.reason == "locked"
        other.execute("COMMIT")
    await written_at_last(sink, batches)
    assert numbers(server, table) == list(range(10))


async def test_a_slow_statement_ends_after_the_timeout(
    server: PostgresqlServer, new_sink: Any, table: str, batch_of: BatchOf
) -> None:
    server.query(f"CREATE TABLE {table} (n bigint)")
    server.query(
        f"CREATE FUNCTION f_{table}() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$"
    )
    server.query(f"CREATE TRIGGER slow BEFORE INSERT ON {table} EXECUTE FUNCTION f_{table}()")
    sink = new_sink(table=table, timeout="2s")
    await sink.open()
    batches = [batch_of([{"n": 1}])]
    with pytest.raises(SinkError) as refused:
        await sink.write(batches)
    assert refused.value.reason == "timeout"
    server.query(f"DROP TRIGGER slow ON {table}")
    await written_at_last(sink, batches)
    assert numbers(server, table) == [1]


async def test_a_close_ends_a_write_that_hangs(
    server: PostgresqlServer, new_sink: Any, table: str, batch_of: BatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamd.postgresql.server.LOCK_WAIT_S", 60.0)
    sink = new_sink(table=table)
    await sink.open()
    with server.connect() as other:
        other.execute("BEGIN")
        other.execute(f"LOCK TABLE {table}")
        writing = asyncio.ensure_future(sink.write([batch_of([{"n": 1}])]))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
        await asyncio.to_thread(wait_until, lambda: server.query(waiting, table) == [(1,)])
        async with asyncio.timeout(30):
            await sink.close()
        assert writing.done()
        other.execute("COMMIT")
    assert numbers(server, table) == []


async def test_a_table_that_is_dropped_is_made_again(
    server: PostgresqlServer, new_sink: Any, table: str, batch_of: BatchOf
) -> None:
    sink = new_sink(table=table)
    await sink.open()
    server.query(f"DROP TABLE {table}")
    _, reasons = await written_at_last(sink, [batch_of([{"n": 1}])])
    assert reasons == ["schema"]
    assert numbers(server, table) == [1]


async def test_a_column_that_changes_its_type_refuses_no_record(
    server: PostgresqlServer, new_sink: Any, table: str, batch_of: BatchOf, bench: Any
) -> None:
    sink = new_sink(table=table)
    await sink.open()
    server.query(f"ALTER TABLE {table} ALTER COLUMN n TYPE integer")
    _, reasons = await written_at_last(sink, [batch_of([{"n": 1}])])
    assert reasons == ["schema"]
    assert not bench.office.letters
    server.query(f"ALTER TABLE {table} ALTER COLUMN n TYPE text")
    batches = [batch_of([{"n": 2}])]
    for _ in range(2):
        with pytest.raises(SinkError, match="schema"):
            await sink.write(batches)
    server.query(f"ALTER TABLE {table} ALTER COLUMN n TYPE bigint USING n::bigint")
    await written_at_last(sink, batches)
    assert numbers(server, table) == [1, 2]
    assert not bench.office.letters


async def test_a_server_that_is_not_there_at_the_start_is_waited_for(
    server: PostgresqlServer, new_sink: Any, table: str, batch_of: BatchOf
) -> None:
    sink = new_sink(table=table)
    await asyncio.to_thread(server.stop)
    try:
        await sink.open()
        assert sink.trouble[0] == "unreachable"
        with pytest.raises(EnvironmentFault, match=r"No such file or directory$"):
            await asyncio.to_thread(sink.rehearse)
        with pytest.raises(SinkError, match="unreachable"):
            await sink.write([batch_of([{"n": 1}])])
    finally:
        await asyncio.to_thread(server.start)
    await written_at_last(sink, [batch_of([{"n": 1}])])
    assert sink.trouble is None
    assert numbers(server, table) == [1]


@pytest.fixture
def small_disk(server: PostgresqlServer) -> Iterator[Path]:
    """A folder of the server with 8 MiB."""
    if os.getuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root and mount")
    folder = server.folder / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0777", "none", str(folder)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.decode()}")
    shutil.chown(folder, "postgres")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=False)


async def test_a_full_disk_of_the_server_is_waited_for(
    server: PostgresqlServer, new_sink: Any, table: str, batch_of: BatchOf, small_disk: Path, bench: Any
) -> None:
    server.query(f"CREATE TABLESPACE {table} LOCATION '{small_disk}'")
    server.query(f"CREATE TABLE {table} (n bigint, filler text) TABLESPACE {table}")
    server.query(
        f"CREATE TABLE {table}_other TABLESPACE {table} AS"
        " SELECT repeat('x', 1000) FROM generate_series(1, 4000)"
    )
    sink = new_sink(table=table, columns={"n": "int", "filler": "str"})
    await sink.open()
    batches = [batch_of([{"n": n, "filler": "y" * 1000} for n in range(5000)])]
    with pytest.raises(SinkError) as refused:
        await sink.write(batches)
    assert refused.value.reason == "disk_full"
    assert "No space left on device" in refused.value.detail
    server.query(f"DROP TABLE {table}_other")
    server.query("CHECKPOINT")  # only then the dropped files are gone
    server.query(f"VACUUM {table}")  # the failed transaction has left its rows, which autovacuum removes
    await written_at_last(sink, batches)
    assert numbers(server, table) == list(range(5000))
    assert not bench.office.letters
    server.query(f"DROP TABLE {table}")
    server.query(f"DROP TABLESPACE {table}")
