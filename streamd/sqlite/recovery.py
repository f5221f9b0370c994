"""Recovers an open database whose files were removed, replaced or overwritten by another program."""

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
"""Seconds between two checks of the files of an idle database."""
PATIENCE_S = 10.0
"""How long to wait for a database that was moved away to come back, before a new one is made; and for a
reader that blocks the saving of rows."""
RETRY_S = 0.02
"""Seconds between two attempts to bring rows that were just committed into a file that was moved."""
TOLD_S = 10.0
"""How long trouble that is over is still reported, so that a poll every few seconds sees it."""

Prepare = Callable[[], Awaitable[None]]
"""Prepares a reopened file for a user of the database, such as by making its table."""


class Trouble(NamedTuple):
    """A reason code, a sentence, and when the trouble began (monotonic seconds)."""

    reason: str
    why: str
    since_mono_s: float


class Recovery:
    """Checks a database's files before and after every commit, and once a second.

    A program that closes the database as its last user deletes the write-ahead log by its name. If it wrongly
    takes itself for the last user, or if files are removed by hand, our connection writes to files without
    names. A commit then succeeds only if its rows are in the file at the path:

    - The log was removed, the file is there: the log's rows are checkpointed into the file, and the file is
      reopened. If a reader prevents that for `PATIENCE_S`, a copy of the log is put to its path. If another
      program may have written the file since, the two cannot be merged: a copy of the file with our rows is
      made beside it.
    - The file was replaced: the new one is opened. Earlier rows are in the old one.
    - The file or its log was overwritten: our log does not fit the file's new contents. The log is set aside,
      and the file is opened with its new contents.
    - The file was removed: writers retry, because it may come back. After `PATIENCE_S` a new file is made.

    If several processes write to the file, each does this while it holds the write lock, and the one that has
    left a log tells the others where its rows are.
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
        """Whether a writer was refused since the trouble began."""
        self._look = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def trouble(self) -> Trouble | None:
        """The present trouble, or trouble that ended at most `TOLD_S` ago."""
        if self._is_over and time.monotonic() - self._over_mono_s > TOLD_S:
            return None
        return self._trouble

    def begin(self) -> None:
        """Identify the files of the opened database. Raises `SinkError` if they are gone already."""
        self._files = OwnFiles(self._database.path, self._database.write_lock)
        if not self._files.are_whole:
            raise SinkError("log_removed", f"the log of {self._database.path} is removed by another program")
        if self._task is None:
            self._task = asyncio.create_task(self._watch())

    def add_user(self, prepare: Prepare) -> None:
        """Call `prepare` whenever a file is reopened. It may use the database and raise any error."""
        self._users.append(prepare)

    def remove_user(self, prepare: Prepare) -> None:
        """Undo `add_user`."""
        if prepare in self._users:
            self._users.remove(prepare)

    def check_in_thread(self) -> None:
        """Raise `SinkError` if the files are not those that this process has opened. For any thread."""
        if self._files is None or not self._files.are_unchanged():
            raise SinkError("log_removed", f"the files of {self._database.path} have changed")

    def check(self) -> None:
        """Check the files before a transaction. Raises `SinkError` if they have changed. 20 µs."""
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
        """Check the files after a commit. The caller must hold the database's lock.

        Raises `SinkError` if the committed rows are not in the file at the path. They must be written again
        then, though a file that was moved away has them too. While they may still come into the file (a
        reader leaves the log, or a moved file comes back), this waits for that, at most `PATIENCE_S`: rows
        that were refused too early would be stored twice.
        """
        fault = None if self._files is None else self._files.fault()
        if fault is None or self._files is None:
            return
        self._note(fault)
        self._look.set()
        until_mono_s = time.monotonic() + PATIENCE_S
        saved = self._files.database_is_there and await self._complete(just_committed=True)
        while not saved and self._files.may_still_be_saved and time.monotonic() < until_mono_s:
            await asyncio.sleep(RETRY_S)
            saved = self._files.fault() is None or (
                self._files.database_is_there and await self._complete(just_committed=False)
            )
        if not saved and not await self._give_back():
            raise self._error()

    def error(self) -> SinkError | None:
        """The error to raise if there is no connection; None if no trouble with files is the cause."""
        return None if self._is_over else self._error()

    async def close(self) -> None:
        """Disconnect. If files were removed or replaced, save our rows and delete no other program's log."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        async with self._database.lock:
            if self._database.is_open and self._files is not None and (fault := self._files.fault()):
                self._note(fault)
                async with self._database.turn():
                    await self._leave(self._files, at_close=True)
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
            except Exception as error:  # an unexpected error must not end the checks
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
        """Leave the old files and open those at the path. False if it is too early for that."""
        waited_s = time.monotonic() - (self._trouble.since_mono_s if self._trouble else 0.0)
        async with self._database.lock:
            if self._database.is_open:
                patient = waited_s < PATIENCE_S
                if files.is_removed and (patient or not self._is_wanted):
                    await self._complete(just_committed=False)  # readers of the moved file lack our log
                    return False
                if files.is_overwritten and not files.is_at_rest:
                    return False
                async with self._database.turn():
                    if not await self._leave(files, patient=patient):
                        return False
                    await self._database.disconnect()
                    self._unprepared = True
                    await self._database.connect()
                return True
            self._unprepared = True
            await self._database.connect()
        return True

    async def _leave(self, files: OwnFiles, *, patient: bool = False, at_close: bool = False) -> bool:
        """Save the rows that only our log holds, and disconnect. False if a reader blocks that for now.

        The caller must hold the write lock.
        """
        if files.is_overwritten and files.fate is None:
            files.retire()
            with files.kept():
                await self._database.disconnect()
            aside = files.set_log_aside()
            files.note_fate(in_file=False)
            log.error(
                "database_overwritten",
                path=str(self._database.path),
                log=None if aside is None else str(aside),
                hint="streamd continues with the contents that the other program wrote: rows stored before"
                " may be missing in them, and the log does not belong to them",
            )
            return True
        saved, copy = await self._complete(just_committed=False), None
        is_told = files.fate is not None  # by the process that has left our log before
        in_use = False
        if not saved and not is_told:
            in_use = files.may_be_completed(just_committed=False)
            if in_use and patient:
                return False
            saved = in_use and await self._give_back()
            in_use = in_use and not saved and files.database_is_there
            if in_use and not at_close:  # the file is not whole without our log
                return False
            if not saved and not in_use:
                copy = await self._copied()
                files.retire()
        # The last connection that closes checkpoints its log into the file, and deletes the log by its name.
        with nullcontext() if in_use or (saved and files.has_no_other_log) else files.kept():
            await self._database.disconnect()
        files.tidy(saved=saved or is_told or copy is not None)
        files.note_fate(in_file=saved)
        if not saved and not is_told:
            _say_split(self._database.path, copy, in_use=in_use)
        return True

    async def _complete(self, *, just_committed: bool) -> bool:
        """Bring the rows of our log into the file by a checkpoint. True if all are in the file now."""
        files = self._files
        if files is None:
            return False
        async with self._database.turn():
            if files.is_given_back or files.fate is not None:
                return files.is_given_back or files.fate is True
            if not files.may_be_completed(just_committed=just_committed):
                return False
            files.note_checkpoint()
            try:
                ((busy, pages, done),) = await self._database.run("PRAGMA wal_checkpoint(PASSIVE)")
            except (SinkError, sqlite3.Error):
                return False
            files.note_own_write()
            return not busy and pages == done

    async def _give_back(self) -> bool:
        """Put our log back to its path, if a reader keeps it from being checkpointed. False if that fails."""
        files = self._files
        if files is None:
            return False
        async with self._database.turn():
            if files.is_given_back or files.fate is not None:
                return files.is_given_back or files.fate is True
            if not files.may_be_completed(just_committed=False):
                return False
            if not await asyncio.to_thread(files.give_log_back):
                return False
            files.retire()
            files.note_fate(in_file=True)
        log.warning(
            "database_log_given_back",
            path=str(self._database.path),
            hint="a program that still reads the file as it was before sees no later row until it opens the"
            " file again (see fuser)",
        )
        return True

    async def _copied(self) -> Path | None:
        """Copy all rows that our connection can read to a new file; None if it cannot be made."""
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
                hint="stop streamd before moving or removing its files; no rows are stored here until the"
                " file is reopened",
            )

    def _end(self, how: str) -> None:
        self._is_over, self._over_mono_s = True, time.monotonic()
        after = self._trouble.why if self._trouble else ""
        log.warning("database_recovered", path=str(self._database.path), how=how, after=after)

    def _error(self) -> SinkError:
        trouble = self._trouble or Trouble("moved", f"{self._database.path} is being opened", 0.0)
        return SinkError(trouble.reason, f"{trouble.why}; it is reopened as soon as that is safe")


def _say_split(path: Path, copy: Path | None, *, in_use: bool) -> None:
    if in_use:
        hint = (
            "the rows stored last are only in the removed log, which a program still reads (see fuser):"
            " they come into the file when that program closes it, if nothing else is written before"
        )
    elif copy is None:
        hint = "the rows stored last may be missing in the file, and no copy of them could be made"
    else:
        hint = (
            "another program wrote to the file after its log was removed: rows that are only in the copy"
            " were stored but are not in the file"
        )
    log.error("database_split", path=str(path), copy=None if copy is None else str(copy), hint=hint)
