"""A table that is read again in a thread when its file changes."""

import threading
from pathlib import Path
from typing import ClassVar

import structlog

from streamd.core.counters import Counters
from streamd.lookup_tables.table import Rows, TableFault, TableSettings, read_table

log = structlog.get_logger()

_Signature = tuple[tuple[int, int, int] | None, ...]
_AT_ONCE = 5000
"""Rows of an old table that are freed in one step."""


class TableFile:
    """The rows of a table, which a thread replaces after a change of the file.

    A table that cannot be read leaves the old one in use; the log has the first failure of each reason until
    the file is read again. A user holds `lock` while it reads `rows`, and
    calls `look` now and then. For the time of a second reading, two tables are in memory.
    """

    counters: ClassVar[dict[str, str]] = {
        "reads": "times that the table was read",
        "failed_reads": "times that the table could not be read, by reason; the old table stays in use",
    }

    def __init__(self, settings: TableSettings, check_every_s: float, counters: Counters) -> None:
        self.settings = settings
        self.rows: Rows | None = None
        """The table; None before `open`."""
        self.lock = threading.Lock()
        self._counters = counters
        self._check_every_s = check_every_s
        self._due_s: float | None = None
        self._read: _Signature = ()
        """What the file was when it was read, or was found to hold no such table."""
        self._logged: set[str] = set()
        """The reasons of failures that are in the log; empty after the table was read."""
        self._checking: threading.Thread | None = None

    def open(self) -> None:
        """Read the table unless it was read already. Raises `TableFault`. May take seconds."""
        if self.rows is None:
            signature = self._signature()
            self.rows = read_table(self.settings)
            self._read = signature
            self._counters.add("reads")

    def close(self) -> None:
        """Forget the table. The result of a reading that is under way is not used."""
        self.rows, self._due_s, self._checking = None, None, None

    def look(self, now_s: float) -> None:
        """Look in a thread for a change of the file, if it is time (monotonic seconds)."""
        if self._due_s is None:
            self._due_s = now_s + self._check_every_s
        if now_s < self._due_s or (self._checking is not None and self._checking.is_alive()):
            return
        self._due_s = now_s + self._check_every_s
        self._checking = threading.Thread(target=self.check, name="lookup", daemon=True)
        self._checking.start()

    def check(self) -> None:
        """Read the table again if its file has changed. Called in a thread."""
        old, signature = self.rows, self._signature()
        if signature == self._read:
            return
        try:
            rows = self._read_whole(signature)
        except TableFault as fault:
            self._counters.add("failed_reads", 1, fault.reason)
            if fault.reason not in self._logged:
                self._logged.add(fault.reason)
                log.warning(
                    "table_not_read", file=str(self.settings.path), reason=fault.reason, error=str(fault)
                )
            if fault.reason in ("columns", "rows", "duplicate", "size"):
                self._read = signature  # it is read again when it changes again
            return
        with self.lock:
            if old is None or self.rows is not old:
                return  # the table was closed meanwhile
            self.rows = rows
        self._read = signature
        self._counters.add("reads")
        if self._logged:
            self._logged.clear()
            log.info("table_read", file=str(self.settings.path), rows=len(rows))
        # The memory is freed in small parts, since a large dict would stop all threads for its whole time.
        while old:
            for _ in range(min(_AT_ONCE, len(old))):
                old.popitem()

    def _read_whole(self, signature: _Signature) -> Rows:
        rows = read_table(self.settings)
        if self._signature() != signature:
            raise TableFault("changing", f"{self.settings.path}: it changed while it was read")
        return rows

    def _signature(self) -> _Signature:
        """What tells a change: SQLite may write into the log beside the file only."""
        path = self.settings.path
        if self.settings.table is None:
            return (_stat(path),)
        return _stat(path), _stat(Path(f"{path}-wal"))


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
