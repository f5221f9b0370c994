"""Appends records to a file as lines of JSON, CSV or another format, rotated by size and by day."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from streamd.core.batch import Batch
from streamd.core.contracts import Sink, SinkContext, Written
from streamd.core.errors import ConfigError, EnvironmentFault, Place, SinkError, Taken
from streamd.core.settings import EncodedSettings, Settings, SinkOutput, SizeBytes
from streamd.encoders.json import Json
from streamd.encoding.lines import Lines
from streamd.encoding.separated import Separated
from streamd.files.rotating_file import RotatingFile
from streamd.sqlite.databases import Databases


class File(Sink["File.Config"]):
    """Appends each record as one line to a file: as JSON (NDJSON), or as `encoder` says.

    `format = "csv"` and `columns = […]` mean the same as `encoder = { type = "csv", columns = […] }`.

    A file that would exceed `max_size` is renamed to `<name>.000001`, `.000002` and so on. Records that are
    committed together go to the same file. The time (UTC) at which the first of them was received selects it.

    If a crash has left an incomplete last line, it is removed when the file is opened, which is logged and
    counted as `torn_bytes`. The sink also counts `files_rotated` and `files_removed`. A flagged record
    (`truncated`, `unterminated`) has its flag as `_flag`.
    """

    why_one_process = "one writer alone can begin a new file, and cut off a line that a crash has left"
    counters: ClassVar[Mapping[str, str]] = {
        "files_rotated": "files that were full, or whose day was over, and were renamed to a number",
        "files_removed": "finished files that were deleted because of `keep`",
        "torn_bytes": "bytes cut from the end of files that a crash had left in the middle of a line",
    }

    class Config(EncodedSettings):
        """Settings of a file sink."""

        path: str = Field(
            description="the file, relative to daemon.state_dir; its name may contain %Y, %m, %d and "
            "%H, like readings-%Y-%m-%d.ndjson",
            min_length=1,
        )
        max_size: SizeBytes | None = Field(
            None,
            gt=0,
            description="begin a new file before this size; the records of one commit stay in one file",
        )
        keep: int | None = Field(
            None,
            ge=1,
            description="number of finished files to keep; older ones are deleted. Default: all are kept",
        )
        gzip: bool = Field(
            False, description="compress finished files (<name>.000001.gz), also those of earlier days"
        )
        synchronous: Literal["normal", "full"] = Field(
            "normal",
            description="normal (a committed record survives a crash of the daemon) or full (it also "
            "survives power loss)",
        )

        @model_validator(mode="before")
        @classmethod
        def _earlier_spelling(cls, table: Any) -> Any:
            """The table with `encoder` in place of `format` and `columns`."""
            if not isinstance(table, dict) or table.keys().isdisjoint(("format", "columns")):
                return table
            if "encoder" in table:
                raise ValueError("format and columns are an earlier spelling of encoder: leave them out")
            rest = {key: value for key, value in table.items() if key not in ("format", "columns")}
            written, columns = table.get("format", "ndjson"), table.get("columns")
            if written not in ("ndjson", "csv"):
                raise ValueError('format is "ndjson" or "csv"; for other formats write encoder = "…"')
            if (written == "csv") != bool(columns):
                both = 'format = "csv" and columns belong together'
                raise ValueError(f'{both}: write encoder = {{ type = "csv", columns = [ … ] }}')
            spec = {"type": "csv", "columns": columns} if columns else {"type": "json"}
            return {**rest, "encoder": spec}

        @property
        def outputs(self) -> tuple[SinkOutput, ...]:
            """The file, which no other sink may write to."""
            return (SinkOutput("file", self.path),)

    config: "File.Config"

    def __init__(self, config: Config, context: SinkContext) -> None:
        super().__init__(config, context)
        settings = self.config
        self.path: Path = (context.state_dir / settings.path).resolve()
        encoder = context.encoder or Json(Settings())
        if not encoder.line_end:
            raise ConfigError("a file holds lines, which this format does not have", ("encoder",))
        separated = Separated(encoder, "newline", add_metadata=settings.metadata)
        self._lines = Lines(context, separated.encode, add_metadata=settings.metadata)
        self._file = RotatingFile(
            self.path,
            self.context.counters,
            header=separated.header,
            begins=encoder.begins,
            quoted=encoder.line_feeds == "in_quotes",
            max_size_bytes=settings.max_size,
            keep=settings.keep,
            compress=settings.gzip,
            synchronous=settings.synchronous == "full",
        )
        self._writer: ThreadPoolExecutor | None = None
        self._tidier: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Make the folder, open the file, and cut off an incomplete last line. Raises `EnvironmentFault`."""
        self._refuse_database()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"sink-{self.context.name}")
        self._tidier = ThreadPoolExecutor(1, thread_name_prefix=f"tidy-{self.context.name}")
        try:
            await self._on(self._writer, self._file.open, time.time())
        except (SinkError, OSError) as error:
            await self.close()
            raise EnvironmentFault(f"sink {self.context.name}: {error}") from None
        self._tidier.submit(self._file.tidy)

    def rehearse(self) -> list[str]:
        """Check the folder and the file. Raises `EnvironmentFault`."""
        self._refuse_database()
        try:
            self._file.rehearse(time.time())
        except SinkError as error:
            text = f"sink {self.context.name}: {error}"
            if error.reason == "locked":
                raise Taken(text, "file", str(self._file.path_at(time.time()))) from None
            raise EnvironmentFault(text) from None
        return []

    def _refuse_database(self) -> None:
        """Refuse a database of this daemon before opening it: closing the file would drop SQLite's locks."""
        path = self._file.path_at(time.time())
        if self.context.shared(Databases).has(path):
            raise EnvironmentFault(
                f"sink {self.context.name}: {path} is a database of this daemon: name another path"
            )

    @property
    def places(self) -> list[Place]:
        """The file written now, which is locked."""
        return [("file", str(self._file.path_at(time.time())))]

    async def close(self) -> None:
        """Close the file. A compression under way is abandoned and made at the next start."""
        self._file.stopping = True
        for executor, last in ((self._tidier, lambda: None), (self._writer, self._file.close)):
            if executor is not None:
                await self._on(executor, last)
                executor.shutdown(wait=False)
        self._writer = self._tidier = None

    async def write(self, batches: Sequence[Batch]) -> Written:
        """Append all lines. With `synchronous = "full"`, return once they are on the disk.

        Raises `SinkError`; none of the lines is in the file then.
        """
        prepared = await self._lines.of(batches)
        if prepared.lines:
            data = b"".join(prepared.lines)
            received_s = batches[0].first_received_at
            rotated = await self._on(self._writer, self._file.write, data, received_s)
            if rotated and self._tidier is not None:
                self._tidier.submit(self._file.tidy)
        self._lines.forget()
        return prepared.written()

    async def _on(self, executor: ThreadPoolExecutor | None, call: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(executor, call, *arguments)
