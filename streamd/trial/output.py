"""An output of a trial: writes as the real sink does, but into the folder of the trial, and is read back."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamd import registry
from streamd.config import component
from streamd.core.settings import EncodedSettings, SinkSettings
from streamd.sqlite.table import quote


@dataclass(slots=True)
class TakenRecords:
    """The records that one sink has stored: `rows` of its table, or `lines` of its file or connection."""

    pipeline: str
    sink: str
    type: str
    count: int
    rows: list[dict[str, Any]]
    lines: list[str]


class TrialOutput:
    """Settings with which a sink writes below `folder`, and the records that it has written there."""

    def __init__(self, name: str, settings: SinkSettings, folder: Path) -> None:
        self.name = name
        self.type = settings.type
        self._folder = folder
        self._read_bytes: dict[Path, int] = {}
        self.settings: SinkSettings = self._here(settings)
        self._has_header = isinstance(self.settings, EncodedSettings) and _has_header(self.settings)

    def _here(self, settings: Any) -> Any:
        if settings.type in ("sqlite", "file"):
            place = str(self._folder / Path(settings.path).name)
            changes: dict[str, Any] = {"path": place, "synchronous": "normal"}
            if settings.type == "sqlite":
                changes["retention"] = type(settings.retention)(min_free="0B")
            else:
                changes |= {"max_size": None, "keep": None, "gzip": False}
            return settings.model_copy(update=changes)
        if settings.type in ("parquet", "postgresql"):
            return self._as_table(settings)
        has_lines = isinstance(settings, EncodedSettings) and _has_lines(settings)
        return registry.load("sinks", "file").Config(
            type="file",
            encoder=settings.encoder if has_lines else "json",
            path=str(self._folder / "lines"),
            metadata=getattr(settings, "metadata", False),
            buffer=settings.buffer,
            batch=settings.batch,
        )

    def _as_table(self, settings: Any) -> Any:
        """A SQLite table with the columns and checks of a sink that needs other programs to be read."""
        typed = settings.schema_name is not None or settings.columns
        options = {"extra": settings.extra, "metadata": settings.metadata} if typed else {}
        if getattr(settings, "on_conflict", "") == "update":
            options["unique"] = settings.unique
        return registry.load("sinks", "sqlite").Config(
            type="sqlite",
            path=str(self._folder / "rows.db"),
            schema=settings.schema_name,
            columns=settings.columns,
            buffer=settings.buffer,
            batch=settings.batch,
            retention={"min_free": "0B"},
            **options,
        )

    def begin(self) -> None:
        """Skip the content that the files have when the sink is opened, for example a CSV header."""
        self._lines()

    def end(self) -> None:
        """Forget how far the files were read."""
        self._read_bytes.clear()

    def skip_as(self, other: "TrialOutput") -> None:
        """Skip the content that `other`, which wrote in the same folder before, has skipped."""
        self._read_bytes = dict(other._read_bytes)  # noqa: SLF001 - of the same class

    def contents(self) -> tuple[list[dict[str, Any]], list[str]]:
        """All rows or lines that were stored, in order; call it after the sink is closed."""
        if self.settings.type != "sqlite":
            return [], self._lines()
        rows: list[dict[str, Any]] = []
        table = quote(getattr(self.settings, "table", ""))
        for path in self._databases():
            with closing(sqlite3.connect(path)) as connection:
                connection.row_factory = sqlite3.Row
                if connection.execute(f"PRAGMA table_info({table})").fetchall():
                    found = connection.execute(f"SELECT * FROM {table} ORDER BY _rowid_")  # noqa: S608 - quoted
                    rows += map(dict, found)
        return rows, []

    def _databases(self) -> list[Path]:
        return [
            path
            for path in sorted(self._folder.glob("*"))
            if not path.name.endswith(("-wal", "-shm", "-journal")) and path.is_file()
        ]

    def take(self, pipeline: str, count: int) -> TakenRecords:
        """The records that the sink has stored since the last call, at most `count`; deletes their rows."""
        rows = self._rows(count) if self.settings.type == "sqlite" else []
        lines = self._lines() if self.settings.type != "sqlite" else []
        return TakenRecords(pipeline, self.name, self.type, count, rows, lines)

    def _rows(self, count: int) -> list[dict[str, Any]]:
        name = getattr(self.settings, "table", "")
        newest = f"FROM {quote(name)} LIMIT {count}"
        for path in self._databases():
            with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
                connection.row_factory = sqlite3.Row
                if not connection.execute(f"PRAGMA table_info({quote(name)})").fetchall():
                    continue
                found = connection.execute(f"SELECT * {newest}").fetchall()
                if found:
                    taken = f"_rowid_ IN (SELECT _rowid_ {newest})"
                    connection.execute(f"DELETE FROM {quote(name)} WHERE {taken}")  # noqa: S608 - the same
                    return [dict(row) for row in found]
        return []

    def _lines(self) -> list[str]:
        lines: list[str] = []
        for path in sorted(self._folder.glob("*")):
            if path.is_file():
                data = path.read_bytes()
                start = self._read_bytes.get(path, 0)
                self._read_bytes[path] = len(data)
                new = data[start:].decode("utf-8", "backslashreplace").splitlines()
                lines += new[1:] if start == 0 and self._has_header else new
        return lines


def _has_lines(settings: EncodedSettings) -> bool:
    """Whether the messages of the sink can be shown as lines; those of other formats are shown as JSON."""
    encoder, _ = component("encoders", settings.encoder)
    return bool(encoder.line_end)


def _has_header(settings: EncodedSettings) -> bool:
    encoder, options = component("encoders", settings.encoder)
    return bool(encoder(options).header)
