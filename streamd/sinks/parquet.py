"""Stores records in Parquet files, which appear whole."""

import asyncio
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import structlog
from pydantic import Field

from streamd.core.batch import Batch
from streamd.core.contracts import Sink, SinkContext, Written
from streamd.core.dead_letter import DeadLetter
from streamd.core.errors import ConfigError, EnvironmentFault, SinkError
from streamd.core.schema import FieldSettings, Schema
from streamd.core.settings import (
    BatchSettings,
    BufferSettings,
    DurationS,
    Settings,
    SinkOutput,
    SinkSettings,
    SizeBytes,
)
from streamd.core.trial_paths import try_file
from streamd.files.rotating_file import fault
from streamd.parquet.places import Places, unfinished_name
from streamd.parquet.whole_file import remove_unfinished
from streamd.sqlite.columns import Column, declared_fields, refuse_options_of_columns
from streamd.sqlite.retention import run_retention

log = structlog.get_logger()

_LOOK_EVERY_S = 10.0
"""Seconds between two looks of retention, each of which lists all files."""


class FileBatch(BatchSettings):
    """When a commit begins. The records of a commit make one file, or one for each period of a dated path."""

    max_records: int = Field(
        100_000,
        ge=1,
        description="number of waiting records at which a file is made before max_wait; if more records "
        "wait, one commit takes up to four times as many, but at most half of the buffer",
    )
    max_wait: DurationS = Field(
        "60s",
        description="longest time that a record waits for others before a file is made",
        validate_default=True,
    )


class FileBuffer(BufferSettings):
    """The records that wait for their file. It is full as soon as one of its bounds is reached."""

    max_records: int = Field(
        250_000, ge=1, description="most records that wait; half of them are the most of one file"
    )
    max_bytes: SizeBytes = Field(
        "128MiB",
        description="most memory that they use; if it is reached, a file is made",
        validate_default=True,
    )


class FileRetentionSettings(Settings):
    """How many files are kept, and how much space stays free."""

    max_age: DurationS | None = Field(
        None, gt=0, description="files made longer ago are deleted; their names have the time"
    )
    max_size: SizeBytes | None = Field(
        None,
        ge=1 << 20,
        description="largest size of all files together; beyond it the oldest ones are deleted, but never "
        "the newest",
    )
    min_free: SizeBytes = Field(
        "64MiB",
        description="writing stops while the file system has less free space than this",
        validate_default=True,
    )


class Parquet(Sink["Parquet.Config"]):
    """Stores records in Parquet files. It needs the extra `parquet`.

    Each commit makes a new file, which appears whole under its name and is on the disk when its records
    count as stored. Records wait in the buffer until then. `batch` says how many records a file has and how
    long they wait.

    With a `schema` or `columns` each field has a typed column. Without them each record is JSON in the column
    `record`, beside its time of receipt, source and sender.
    """

    opens_beside = True
    in_each_process = True  # every file has a random part in its name

    counters: ClassVar[Mapping[str, str]] = {
        "files": "files made",
        "extra_dropped": 'fields dropped because they have no column (`extra = "drop"`)',
        "expired": "rows deleted by retention; they were stored, and `stored` stays",
        "unfinished_files": "half-written files of a dead process that were deleted at the start",
    }

    class Config(SinkSettings):
        """Settings of a Parquet sink."""

        path: str = Field(
            description="the files, relative to daemon.state_dir, like "
            "lake/day=%Y-%m-%d/readings.parquet. Each file gets its time and a random part before .parquet. "
            "%Y, %m, %d and %H in folders or the name are those of the time of receipt in UTC",
            min_length=1,
        )
        schema_name: str | None = Field(
            None,
            alias="schema",
            description="name of a schema: the files have a column for each of its fields",
        )
        columns: dict[str, Column] = Field(
            {}, description="columns by name, added to those of the schema or replacing them"
        )
        metadata: bool = Field(False, description="add the columns received_at, source and peer")
        extra: Literal["json", "reject", "drop"] = Field(
            "json",
            description="what happens to a field without a column: json (it is kept in the column extra), "
            "reject (the record) or drop (and count it)",
        )
        compression: Literal["zstd", "snappy", "lz4", "gzip", "none"] = Field(
            "zstd", description="the compression of the columns"
        )
        batch: FileBatch = Field(FileBatch(), description="when a file is made")
        buffer: FileBuffer = Field(FileBuffer(), description="the queue before this sink")
        retention: FileRetentionSettings = Field(
            FileRetentionSettings(), description="how many files are kept"
        )

        def share(self, number: int, count: int) -> Self:
            """The settings of one process: only the first one deletes old files."""
            mine = super().share(number, count)
            if number == 0:
                return mine
            kept = self.retention.model_copy(update={"max_age": None, "max_size": None})
            return mine.model_copy(update={"retention": kept})

        @property
        def outputs(self) -> tuple[SinkOutput, ...]:
            """The files, which no other sink may write to."""
            return (SinkOutput("file", self.path),)

    config: "Parquet.Config"

    def __init__(self, config: Config, context: SinkContext) -> None:
        super().__init__(config, context)
        root = context.state_dir.resolve()
        self._places = Places((root / self.config.path).resolve(), root)
        fields = self._fields()
        try:
            import pyarrow as _  # noqa: F401, ICN001, PLC0415 - an extra, and half a second
        except ImportError as error:
            raise ConfigError(
                f"the sink parquet needs the package {error.name or 'pyarrow'}: pip install"
                " 'streamd-daemon[parquet]'",
                ("type",),
            ) from None
        from streamd.parquet import commit, retention  # noqa: PLC0415 - they import pyarrow

        self._files = commit.Files(
            self._places,
            fields,
            add_metadata=self.config.metadata,
            extra=self.config.extra,
            compression=self.config.compression,
        )
        kept = self.config.retention
        self._retention = (
            None
            if kept.max_age is None and kept.max_size is None
            else retention.FileRetention(
                self._places, context.counters, max_age_s=kept.max_age, max_bytes=kept.max_size
            )
        )
        self._last: tuple[Sequence[Batch], commit.Commit] | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._keeper: asyncio.Task[None] | None = None

    def _fields(self) -> dict[str, FieldSettings]:
        """The fields that have a column, in order. Raises `ConfigError`."""
        config = self.config
        fields = declared_fields(self.context.schemas, config.schema_name, config.columns)
        lower: dict[str, str] = {}
        for name in fields:
            other = lower.setdefault(name.lower(), name)
            if other != name:
                raise ConfigError(f"the columns {other!r} and {name!r} differ only in case")
        if not fields:
            refuse_options_of_columns(config, "extra", "metadata")
        return fields

    def accepts_typed(self, schema: Schema) -> bool:
        """Whether each field of the schema has a column of its name and type."""
        return self._files.accepts_typed(schema)

    async def open(self) -> None:
        """Make the folder, and delete half-written files of a dead process. Raises `EnvironmentFault`."""
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"sink-{self.context.name}")
        path = self._sample()
        try:
            await self._on_thread(path.parent.mkdir, 0o777, True, True)
            await self._on_thread(try_file, path)
            removed = await self._on_thread(remove_unfinished, self._places.unfinished())
        except OSError as error:
            await self.close()
            raise self._refusal(path, error) from None
        for half_made in removed:
            self.context.counters.add("unfinished_files")
            log.warning("unfinished_file_removed", path=str(half_made))
        if self._retention is not None:
            self._keeper = asyncio.create_task(run_retention(self._retain, self.context.name))

    def rehearse(self) -> list[str]:
        """Check the folder. Raises `EnvironmentFault`."""
        path = self._sample()
        try:
            try_file(path)
        except OSError as error:
            raise self._refusal(path, error) from None
        return []

    def _sample(self) -> Path:
        """The temporary name of a file that would be made now."""
        return unfinished_name(self._places.new_file(self._places.stem_now(), time.time()))

    def _refusal(self, path: Path, error: OSError) -> EnvironmentFault:
        return EnvironmentFault(f"sink {self.context.name}: {fault(path.parent, error)}")

    async def _retain(self) -> bool:
        if self._retention is not None:
            await asyncio.to_thread(self._retention.step)
        await asyncio.sleep(_LOOK_EVERY_S)
        return False

    async def close(self) -> None:
        """End retention, and wait for a write under way."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait((keeper,))
        writer, self._writer = self._writer, None
        if writer is not None:
            await asyncio.get_running_loop().run_in_executor(writer, lambda: None)
            writer.shutdown(wait=False)

    async def write(self, batches: Sequence[Batch]) -> Written:
        """Make the files of all batches. Rejected records are stored as dead letters first.

        Raises `SinkError`. A retry with the same batches makes only the files that are not there yet, under
        the same names. The encoded files are in memory until then.
        """
        if self._last is None or self._last[0] is not batches:
            made = await self._on_thread(self._files.make, batches)
            await self._keep_rejects(batches, made.rejects)
            self._last = (batches, made)
        commit = self._last[1]
        await self._on_thread(self._store, commit)
        self._last = None
        for counter, n in (("files", commit.files), ("extra_dropped", commit.dropped_fields)):
            if n:
                self.context.counters.add(counter, n)
        written = Written.whole(len(batches))
        written.rejected = [[reject.index for reject in rejects] for rejects in commit.rejects]
        return written

    async def _keep_rejects(self, batches: Sequence[Batch], rejects: Sequence[Sequence[Any]]) -> None:
        letters = [
            DeadLetter.at_sink(self.context.name, batch, one.index, one.reason, one.detail)
            for batch, of_batch in zip(batches, rejects, strict=True)
            for one in of_batch
        ]
        if letters:
            await self.context.dead_letters.commit(letters)

    def _store(self, commit: Any) -> None:
        """Write the files of a commit that are not written yet. Raises `SinkError`."""
        try:
            self._check_free()
            commit.store()
        except OSError as error:
            raise fault(self._places.base, error) from error

    def _check_free(self) -> None:
        least_bytes = self.config.retention.min_free
        if not least_bytes:
            return
        try:
            left_bytes = shutil.disk_usage(self._places.base).free
        except FileNotFoundError:  # the folder was removed; the write makes it again
            return
        if left_bytes < least_bytes:
            raise SinkError(
                "min_free",
                f"{left_bytes >> 20} MiB are free on the file system of {self._places.base},"
                f" retention.min_free keeps {least_bytes >> 20} MiB",
            )

    async def _on_thread(self, call: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._writer, call, *arguments)
