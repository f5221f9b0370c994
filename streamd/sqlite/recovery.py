"""An open database whose files were removed or replaced: its log is saved, and it is opened anew."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog

from streamd.core.errors import SinkError, StreamdError
from streamd.sqlite.files import free_bytes
from streamd.sqlite.own_files import FileFault, OwnFiles

if TYPE_CHECKING:
    from streamd.sqlite.database import Database

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
"""How often the files of a database to which nobody writes are looked at."""
PATIENCE_S = 10.0
"""How long a database that was moved away may come back before a new one is made, and a reader may hold up
the saving of rows."""
TOLD_S = 10.0
"""How long trouble that is over is still reported, so that a poll every few seconds sees it."""

Prepare = Callable[[], Awaitable[None]]
"""Makes in a file that was opened anew what its user needs there."""


class Trouble(NamedTuple):
    """What has happened to the files, and since when on the monotonic clock."""

    reason: str
    why: str
    since_mono_s: float


class Recovery:
    """Looks at a database's files before and after every commit, and once a second.

    A program that closes the database as its last user deletes the write-ahead log by its name. Where it
    takes itself for the last one and is not, or somebody removes files by hand, our connection goes on in
    files without names. No commit is told to be one then unless its rows are in the file that is there:

    - The log is gone, the file is there: what only the log holds is written into the file, and the file is
      opened anew. Where another program may have written the file since, both cannot become one: a copy of
      what we had is made beside it.
    - The file was replaced: the one that is there is opened. What was committed before is in the other one.
    - The file or its log was written over: our log does not belong to what is in the file now. It is put
      aside, and the file is opened as it is.
    - The file was removed: it may come back, and writers try again. Then a new one is made for them.
    """

    def __init__(self, database: "Database") -> None:
        self._database = database
        self._files: OwnFiles | None = None
        self._users: list[Prepare] = []
        self._trouble: Trouble | None = None
        self._over_mono_s = float("-inf")
        self._is_over = True
        self._unprepared = False
        self._preparing: asyncio.Task[None] | None = None
        self._is_wanted = False
        """Somebody has asked to write since."""
        self._look = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def trouble(self) -> Trouble | None:
        """What is wrong, or has been until `TOLD_S` ago."""
        if self._is_over and time.monotonic() - self._over_mono_s > TOLD_S:
            return None
        return self._trouble

    def begin(self) -> None:
        """The database is open: know its files. Raises `SinkError` where they are gone already."""
        self._files = OwnFiles(self._database.path)
        if not self._files.are_whole:
            raise SinkError("log_removed", f"the log of {self._database.path} is removed by another program")
        if self._task is None:
            self._task = asyncio.create_task(self._watch())

    def add_user(self, prepare: Prepare) -> None:
        """Run `prepare` whenever another file is opened; it uses the database as ever. Raises as it likes."""
        self._users.append(prepare)

    def remove_user(self, prepare: Prepare) -> None:
        """Forget it again."""
        if prepare in self._users:
            self._users.remove(prepare)

    def check(self) -> None:
        """Before a transaction. Raises `SinkError` where the files are not those that were opened. 20 µs."""
        fault = None if self._files is None else self._files.fault()
        if fault is None and self._is_over:
            return
        if fault is not None:
            self._note(fault)
        elif self._unprepared:
            if self._preparing is not None and self._preparing is asyncio.current_task():
                return
        elif self._database.is_open:
            self._end("it came back")
            return
        self._is_wanted = True
        self._look.set()
        raise self._error()

    async def committed(self) -> None:
        """After a commit, with the database's lock held.

        Raises `SinkError` where its rows are not in the file at the path: then they are to be written again,
        though a file that was moved away has them too.
        """
        fault = None if self._files is None else self._files.fault()
        if fault is None or self._files is None:
            return
        self._note(fault)
        self._look.set()
        if not (self._files.database_is_there and await self._complete(just_committed=True)):
            raise self._error()

    def error(self) -> SinkError | None:
        """What to raise where there is no connection; None where that has other reasons."""
        return None if self._is_over else self._error()

    async def close(self) -> None:
        """Disconnect. Where files were taken away, what can be saved is saved and nobody's log is deleted."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        async with self._database.lock:
            if self._database.is_open and self._files is not None and (fault := self._files.fault()):
                self._note(fault)
                await self._leave(self._files)
            await self._database.disconnect()

    async def _watch(self) -> None:
        told = ""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._look.wait()
            self._look.clear()
            try:
                await self._attend()
            except (StreamdError, sqlite3.Error, OSError) as error:
                if told != str(error):
                    told = str(error)
                    log.error("database_not_reopened", path=str(self._database.path), why=told)  # noqa: TRY400
                await asyncio.sleep(LOOK_EVERY_S)
            except Exception as error:  # a fault of this code must not end the looking
                log.exception("database_not_reopened", path=str(self._database.path), why=repr(error))
                await asyncio.sleep(LOOK_EVERY_S)
            else:
                told = ""

    async def _attend(self) -> None:
        files = self._files
        if files is None:
            return
        fault = files.fault()
        if fault is None and self._is_over:
            return
        if fault is not None:
            self._note(fault)
            if not await self._replace(files):
                return
        elif not self._unprepared:
            self._end("it came back")
            return
        if not self._database.is_open:
            async with self._database.lock:
                await self._database.connect()
        self._preparing = asyncio.current_task()
        try:
            for prepare in list(self._users):
                await prepare()
        finally:
            self._preparing = None
        self._unprepared = False
        self._end("it was opened anew")

    async def _replace(self, files: OwnFiles) -> bool:
        """Leave the old files and open those that are there; False where it is not time for it yet."""
        waited_s = time.monotonic() - (self._trouble.since_mono_s if self._trouble else 0.0)
        async with self._database.lock:
            if self._database.is_open:
                patient = waited_s < PATIENCE_S
                if files.is_removed and (patient or not self._is_wanted):
                    await self._complete(just_committed=False)  # it is read elsewhere, without our log
                    return False
                if files.is_overwritten and not files.is_at_rest:
                    return False
                if not await self._leave(files, patient=patient):
                    return False
                await self._database.disconnect()
            self._unprepared = True
            await self._database.connect()
        return True

    async def _leave(self, files: OwnFiles, *, patient: bool = False) -> bool:
        """Save what only our log holds, and disconnect; False where a reader held that up and may yet end."""
        if files.is_overwritten:
            with files.kept():
                await self._database.disconnect()
            aside = files.set_log_aside()
            log.error(
                "database_overwritten",
                path=str(self._database.path),
                log=None if aside is None else str(aside),
                hint="streamd goes on with what the other program has written: rows that were stored before"
                " may be missing there, and the log does not belong to it",
            )
            return True
        saved, copy = await self._complete(just_committed=False), None
        if not saved:
            if patient and files.may_be_completed(just_committed=False):
                return False
            copy = await self._copied()
        # The last connection that closes brings its log into the file, and deletes a log by its name.
        with nullcontext() if saved and files.has_no_other_log else files.kept():
            await self._database.disconnect()
        files.tidy(saved=saved or copy is not None)
        if not saved:
            log.error(
                "database_split",
                path=str(self._database.path),
                copy=None if copy is None else str(copy),
                hint="another program has written the file after its log was removed: rows that are only in"
                " the copy were stored and are not in the file"
                if copy is not None
                else "rows that were stored last may be missing in the file, and no copy of them can be made",
            )
        return True

    async def _complete(self, *, just_committed: bool) -> bool:
        """Write what only our log holds into the file; whether that is all there now."""
        if self._files is None or not self._files.may_be_completed(just_committed=just_committed):
            return False
        try:
            ((busy, pages, done),) = await self._database.run("PRAGMA wal_checkpoint(PASSIVE)")
        except (SinkError, sqlite3.Error):
            return False
        return not busy and pages == done

    async def _copied(self) -> Path | None:
        """The file with all that our connection can read; None where it cannot be made."""
        path = self._database.path
        copy = path.with_name(f"{path.name}.rescued-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
        try:
            ((size_bytes,),) = await self._database.run(
                "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
            )
            if size_bytes >= free_bytes(path.parent):
                return None
            await self._database.run("VACUUM INTO ?", (str(copy),))
        except (SinkError, sqlite3.Error, OSError):
            copy.unlink(missing_ok=True)
            return None
        return copy

    def _note(self, fault: FileFault) -> None:
        if self._is_over or self._trouble is None:
            self._trouble = Trouble(fault.reason, fault.why, time.monotonic())
            self._is_over, self._is_wanted = False, False
            log.error(
                "database_files_lost",
                path=str(self._database.path),
                why=fault.why,
                hint="stop streamd before its files are moved or removed; nothing is stored here until the"
                " file is opened anew",
            )

    def _end(self, how: str) -> None:
        self._is_over, self._over_mono_s = True, time.monotonic()
        after = self._trouble.why if self._trouble else ""
        log.warning("database_recovered", path=str(self._database.path), how=how, after=after)

    def _error(self) -> SinkError:
        trouble = self._trouble or Trouble("moved", f"{self._database.path} is being opened", 0.0)
        return SinkError(trouble.reason, f"{trouble.why}; it is opened anew as soon as that is safe")
