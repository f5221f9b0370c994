"""A real PostgreSQL server for tests, in a folder of its own, on a unix socket and a port."""

import asyncio
import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from streamd.bench.postgresql_server import TemporaryPostgresql, binaries
from streamd.bench.row import SkippedError
from streamd.core.batch import Batch
from streamd.core.contracts import Written
from streamd.core.errors import SinkError
from streamd.sinks.postgresql import Postgresql
from tests.ends_with_us import ends_with_us

T = TypeVar("T")

_DEADLINE_S = 60.0
_HBA = """\
local all all trust
hostssl all cert 127.0.0.1/32 cert
host all guest 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""


needs_postgresql = pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed")


class PostgresqlServer(TemporaryPostgresql):
    """Its user `postgres` needs no password over TCP from 127.0.0.1; the user `guest` does."""

    def __init__(self) -> None:
        self._names = count()
        self._owner = os.getpid()
        settings = ("fsync = off", "max_connections = 40", "shared_buffers = 16MB", "autovacuum = off")
        try:
            super().__init__(Path(tempfile.mkdtemp(prefix="streamd-pg-")), *settings)
        except SkippedError as why:
            pytest.skip(str(why))
        self.data.joinpath("pg_hba.conf").write_text(_HBA)
        self.start()
        atexit.register(self.remove)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        super().start()
        pid = int(self.data.joinpath("postmaster.pid").read_text().split()[0])
        ends_with_us(pid, signal.SIGQUIT)  # at once, and with its shared memory given back

    def remove(self) -> None:
        if os.getpid() != self._owner:  # a fork that ends by itself
            return
        if self.data.joinpath("postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_name(self) -> str:
        """The name of a table or database that no other test uses."""
        return f"t{os.getpid()}_{next(self._names)}"

    @contextlib.contextmanager
    def connect(self, database: str = "postgres", **options: Any) -> Iterator[psycopg.Connection[Any]]:
        connection = psycopg.connect(
            host=str(self.folder),
            port=self.port,
            dbname=database,
            user="postgres",
            autocommit=True,
            **options,
        )
        try:
            yield connection
        finally:
            connection.close()

    def query(self, sql: str, *params: Any) -> list[Any]:
        with self.connect() as connection:
            cursor = connection.execute(sql, params or None)
            return cursor.fetchall() if cursor.description is not None else []

    def psql(self, sql: str) -> str:
        """What PostgreSQL's own client prints, without alignment."""
        program = [str(self.programs / "psql"), "-X", "-A", "-t", "-U", "postgres"]
        done = subprocess.run(
            [*program, "-h", str(self.folder), "-p", str(self.port), "-c", sql],
            check=True,
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
        )
        return done.stdout


@functools.cache
def shared_server() -> PostgresqlServer:
    """The server that the tests of this process share. Nobody stops it before the end."""
    return PostgresqlServer()


async def at_last(step: Callable[[], Awaitable[T]]) -> tuple[T, list[str]]:
    """The result of `step`, which is done again after each `SinkError`; and the reasons in between."""
    reasons: list[str] = []
    async with asyncio.timeout(_DEADLINE_S):
        while True:
            try:
                return await step(), reasons
            except SinkError as error:
                reasons.append(error.reason)
                await asyncio.sleep(0.02)


async def written_at_last(sink: Postgresql, batches: list[Batch]) -> tuple[Written, list[str]]:
    """As the delivery does: the same batches again until they are committed; and the reasons in between."""
    return await at_last(lambda: sink.write(batches))


def wait_until(condition: Any) -> None:
    """Wait until `condition` is true, which it must become."""
    end = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
