import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamd.core.contracts import SinkContext
from streamd.core.dead_letter import DeadLetter, LetterList
from streamd.core.errors import SinkError
from streamd.core.schema import FieldSettings, Schema
from streamd.core.shared import Shared
from streamd.sinks.sqlite import Sqlite
from streamd.sqlite.databases import Databases


class Office(LetterList):
    """Keeps dead letters in a list; `closed` says that none can be committed now."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    async def commit(self, letters: list[DeadLetter]) -> None:
        if self.closed:
            raise SinkError("disk_full", "no room for dead letters")
        await super().commit(letters)


class Bench:
    """Makes sinks on one folder, and looks at what they stored through connections of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.databases = Databases()
        self.shared = Shared(self.databases)
        self.office = Office()
        self.schemas: dict[str, Schema] = {}
        self._open: list[Sqlite] = []

    def schema(self, name: str = "reading", **fields: Any) -> Schema:
        settings = {
            field.replace("__", "."): FieldSettings.model_validate(
                {"type": given} if isinstance(given, str) else given
            )
            for field, given in fields.items()
        }
        self.schemas[name] = Schema(name, settings)
        return self.schemas[name]

    def sink(self, **config: Any) -> Sqlite:
        config = {"type": "sqlite", "path": "data.db", "retention": {"min_free": "0B"}} | config
        context = SinkContext("store", self.schemas, self.folder, self.office, self.shared)
        return Sqlite(Sqlite.Config.model_validate(config), context)

    async def open(self, **config: Any) -> Sqlite:
        sink = self.sink(**config)
        await sink.open()
        self._open.append(sink)
        return sink

    async def close(self) -> None:
        while self._open:
            await self._open.pop().close()

    def query(self, sql: str, path: str = "data.db") -> list[Any]:
        connection = sqlite3.connect(self.folder / path)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    @contextmanager
    def write_lock(self) -> Iterator[None]:
        """Another connection writes."""
        connection = sqlite3.connect(self.folder / "data.db", isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")
        finally:
            connection.close()


@pytest.fixture(autouse=True)
def in_every_test(no_database_stays_open: None) -> None:
    del no_database_stays_open


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    await bench.close()
