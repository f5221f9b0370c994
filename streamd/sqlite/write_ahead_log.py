"""Checkpoints the write-ahead log of one SQLite file, and watches its size."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from streamd.core.errors import SinkError

CHECKPOINT_PAGES = 4000
"""Length of the log (16 MiB) at which SQLite checkpoints it itself. Compared with SQLite's default of 1,000
pages this saves a twentieth of the CPU and a sixth of the time."""
_CHECKPOINT_EVERY_S = 1.0
_CHECKPOINT_ROWS = 1000
"""The log is checkpointed once a second if it got this many rows, else by SQLite at `CHECKPOINT_PAGES`."""
_ALARM_BYTES = 64 * 2**20
_ALARM_AFTER_S = 5.0
"""A log larger than `_ALARM_BYTES` for this time cannot be restarted: a reader uses an old snapshot of the
file."""


class WriteAheadLog:
    """Checkpoints between commits, so that no commit has to wait for it.

    Logs once that a reader pins the log (`wal_pinned`), and once that it is released (`wal_released`). The
    reader is not interrupted.
    """

    def __init__(self, path: Path, fetch: Callable[[str], Awaitable[list[tuple[Any, ...]]]]) -> None:
        """`fetch` runs a PRAGMA on the file's connection, outside any transaction."""
        self.path = path
        self.checkpoint: asyncio.Task[None] | None = None
        """The latest checkpoint, under way or done."""
        self.pinned = 0
        """How often a reader has kept SQLite from restarting the log (event `wal_pinned`)."""
        self._fetch = fetch
        self._checkpointed_s = float("-inf")
        self._rows = 0
        self._long_since_s: float | None = None
        self._alarm = False

    def committed(self, rows: int) -> None:
        """Count rows committed to the log, and begin a checkpoint if one is due."""
        self._rows += rows
        now_s = time.monotonic()
        if self._rows >= _CHECKPOINT_ROWS and now_s - self._checkpointed_s >= _CHECKPOINT_EVERY_S:
            self._checkpointed_s, self._rows = now_s, 0
            self.checkpoint = asyncio.create_task(self.checkpoint_now())

    async def checkpoint_now(self) -> None:
        """Checkpoint the pages of the log that no reader needs. An error is ignored."""
        with suppress(SinkError, sqlite3.Error):  # SQLite itself checkpoints at `CHECKPOINT_PAGES`
            ((_, log_pages, pages_done),) = await self._fetch("PRAGMA wal_checkpoint(PASSIVE)")
            ((page_bytes,),) = await self._fetch("PRAGMA page_size")
            self._watch(log_pages * page_bytes, pages_done * page_bytes)

    def _watch(self, log_bytes: int, done_bytes: int) -> None:
        now_s = time.monotonic()
        if log_bytes <= _ALARM_BYTES:
            if self._alarm:
                structlog.get_logger(__name__).info("wal_released", path=str(self.path))
            self._long_since_s, self._alarm = None, False
        elif self._long_since_s is None:
            self._long_since_s = now_s
        elif not self._alarm and now_s - self._long_since_s >= _ALARM_AFTER_S:
            self._alarm = True
            self.pinned += 1
            structlog.get_logger(__name__).warning(
                "wal_pinned",
                path=str(self.path),
                log_bytes=log_bytes,
                not_in_file_bytes=log_bytes - done_bytes,
                hint="a program keeps a read transaction open on this file (see fuser), and its log grows"
                " until that ends",
            )
