"""The writer connections of this process, one for each file."""

import asyncio
from pathlib import Path

from streamd.core.errors import EnvironmentFault
from streamd.sqlite import files
from streamd.sqlite.database import Database, Synchronous
from streamd.sqlite.write_lock import WriteLock


class Databases:
    """Shares one `Database` among all users of a path. There is one instance in a process.

    `has_others`: other processes write to the same files, so each write waits for a `WriteLock`.
    """

    def __init__(self, *, has_others: bool = False) -> None:
        self._has_others = has_others
        self._users: dict[Path, int] = {}
        self._open: dict[Path, Database] = {}
        self._reclaimed: set[Path] = set()
        self._rehearsed: set[Path] = set()
        self._closed: list[Database] = []
        """Databases with file trouble at the time they were closed; at most 8."""
        self._lock = asyncio.Lock()

    def troubles(self) -> list[str]:
        """Reports on files removed or replaced, of open and recently closed databases."""
        found = [database.recovery.trouble for database in (*self._open.values(), *self._closed)]
        self._closed = [database for database in self._closed if database.recovery.trouble is not None]
        return [trouble.why for trouble in found if trouble is not None]

    def reclaim(self, path: Path) -> None:
        """If this file is created, create it so that pages freed by retention go back to the disk.

        Must be called before the file is opened, because it has an effect only on a file without tables.
        """
        self._reclaimed.add(path.resolve())

    @property
    def paths(self) -> list[Path]:
        """The open files."""
        return list(self._open)

    async def acquire(self, path: Path, synchronous: Synchronous = "normal") -> Database:
        """Open the database at `path`, or share it. The stricter `synchronous` wins.

        Raises `EnvironmentFault`. Each call needs a `release`.
        """
        path = path.resolve()  # noqa: ASYNC240 - a few lookups, at start
        async with self._lock:
            database = self._open.get(path)
            if database is None:
                self._refuse_second_name(path)
                database = Database(
                    path,
                    synchronous,
                    reclaim=path in self._reclaimed,
                    write_lock=WriteLock(path) if self._has_others else None,
                )
                await database.open()
                self._open[path] = database
            await database.require(synchronous)
            self._users[path] = self._users.get(path, 0) + 1
            return database

    def rehearse(self, path: Path) -> None:
        """Raise `EnvironmentFault` for a second name of a file that is open or was rehearsed before."""
        path = path.resolve()
        self._refuse_second_name(path)
        self._rehearsed.add(path)

    def has(self, path: Path) -> bool:
        """Whether the file, under any name, is a database that is open or was rehearsed.

        Such a file must not be opened and closed elsewhere: closing it drops this process's locks on it.
        """
        found = files.identity(path)
        return found != files.NO_FILE and any(
            found == files.identity(other) for other in (*self._open, *self._rehearsed)
        )

    def _refuse_second_name(self, path: Path) -> None:
        """Refuse a second name of a file, because each name would get a write-ahead log of its own."""
        found = files.identity(path)
        for other in {*self._open, *self._rehearsed} - {path}:
            if found != files.NO_FILE and found == files.identity(other):
                raise EnvironmentFault(
                    f"{path} and {other} are one file under two names, which would ruin the database:"
                    " use one of them everywhere"
                )

    async def release(self, database: Database) -> None:
        """Give the database back. The last user closes it."""
        async with self._lock:
            self._users[database.path] -= 1
            if self._users[database.path] == 0:
                del self._users[database.path], self._open[database.path]
                await database.close()
                if database.recovery.trouble is not None:
                    self._closed = [*self._closed[-7:], database]
