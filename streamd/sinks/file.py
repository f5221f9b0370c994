"""Appends records to a file as NDJSON or CSV lines, rotated by size and by day."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from streamd.core.batch import Batch
from streamd.core.contracts import Sink, SinkContext, Written
from streamd.core.errors import EnvironmentFault, Place, SinkError, Taken
from streamd.core.settings import SinkOutput, SinkSettings, SizeBytes
from streamd.encoding.csv import CsvLines
from streamd.encoding.lines import Lines, json_lines
from streamd.files.rotating_file import RotatingFile
from streamd.sqlite.databases import Databases


class File(Sink["File.Config"]):
    """Appends each record as one line to a file, NDJSON or CSV (RFC 4180, with a header line in each file).

    A file that would exceed `max_size` is renamed to `<name>.000001`, `.000002` and so on. Records that are
    committed together go to the same file. The time (UTC) at which the first of them was received selects it.

    If a crash has left an incomplete last line, it is removed when the file is opened, which is logged and
    counted as `torn_bytes`. The sink also counts `files_rotated` and `files_removed`. A flagged record
    (`truncated`, `unterminated`) has its flag as `_flag`.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "files_rotated": "files that were full, or whose day was over, and were renamed to a number",
        "files_removed": "finished files that were deleted because of `keep`",
        "torn_bytes": "bytes cut from the end of files that a crash had left in the middle of a line",
    }

    class Config(SinkSettings):
        """Settings of a file sink."""

        path: str = Field(
            description="the file, relative to daemon.state_dir; its name may contain %Y, %m, %d and "
            "%H, like readings-%Y-%m-%d.ndjson",
            min_length=1,
        )
        format: Literal["ndjson", "csv"] = Field(
            "ndjson", description="ndjson (one JSON object on each line) or csv"
        )
        columns: list[str] = Field(
            [],
            description="the fields of a line in order, each an exact key or a dotted path; for csv "
            "only, and required there. A missing field is empty; other fields are left out",
        )
        metadata: bool = Field(
            False, description="add the fields (with csv: columns) _received_at, _source and _peer"
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

        @model_validator(mode="after")
        def _fits(self) -> Self:
            if self.format == "csv" and not self.columns:
                raise ValueError('"csv" needs "columns": the fields in their order')
            if self.format == "ndjson" and self.columns:
                raise ValueError('"columns" needs format = "csv"')
            if len(set(self.columns)) < len(self.columns):
                raise ValueError('"columns" names a field twice')
            return self

        @property
        def outputs(self) -> tuple[SinkOutput, ...]:
            """The file, which no other sink may write to."""
            return (SinkOutput("file", self.path),)

    config: "File.Config"

    def __init__(self, config: Config, context: SinkContext) -> None:
        super().__init__(config, context)
        settings = self.config
        self.path: Path = (context.state_dir / settings.path).resolve()
        self._lines: Lines
        header = b""
        if settings.format == "csv":
            csv = CsvLines(settings.columns, add_metadata=settings.metadata)
            header = csv.header
            self._lines = Lines(
                context, add_metadata=settings.metadata, encode_one=csv.line, encode=lambda _: None
            )
        else:
            self._lines = json_lines(context, add_metadata=settings.metadata)
        self._file = RotatingFile(
            self.path,
            self.context.counters,
            header=header,
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
