"""Turns the batches of one commit into whole files, one for each period. Blocks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamd.core.batch import Batch
from streamd.core.clock import read_clock
from streamd.core.now import Now
from streamd.core.schema import FieldSettings, Schema
from streamd.core.timestamp import from_epoch
from streamd.encoding.metadata import metadata
from streamd.parquet.arrow_rows import ArrowRows, BatchTable
from streamd.parquet.places import HOUR, Places
from streamd.parquet.whole_file import write_whole
from streamd.sqlite.rows import BadRow
from streamd.sqlite.typed_rows import Extra


@dataclass(slots=True)
class Commit:
    """The encoded files of one write that are not stored yet, and what happened to its other records."""

    waiting: list[tuple[Path, Any]] = field(default_factory=list)
    rejects: list[list[BadRow]] = field(default_factory=list)
    """The rejected records of each batch, by ascending index."""
    dropped_fields: int = 0
    files: int = 0

    def store(self) -> None:
        """Write the waiting files. Raises `OSError`; the next call begins with the file that failed."""
        while self.waiting:
            path, data = self.waiting[0]
            write_whole(path, memoryview(data))
            del self.waiting[0]
            self.files += 1


class Files:
    """Makes the files of a sink."""

    def __init__(
        self,
        places: Places,
        fields: Mapping[str, FieldSettings],
        *,
        add_metadata: bool,
        extra: Extra,
        compression: str,
        clock: Callable[[], Now] = read_clock,
    ) -> None:
        self._places = places
        self._rows = ArrowRows(fields, add_metadata=add_metadata, extra=extra)
        self._compression = compression
        self._clock = clock

    def accepts_typed(self, schema: Schema) -> bool:
        """Whether structs of this schema can be rows without being made dicts."""
        return self._rows.accepts_typed(schema)

    def make(self, batches: Sequence[Batch]) -> Commit:
        """Encode the records of all batches. Their files get their names here, which a retry keeps."""
        commit = Commit()
        tables: dict[Path, list[Any]] = {}
        for batch in batches:
            made = self._rows.of(batch)
            commit.rejects.append(sorted(made.rejects, key=lambda reject: reject.index))
            commit.dropped_fields += made.dropped_fields
            for stem, table in self._by_period(batch, made):
                if table.num_rows:
                    tables.setdefault(stem, []).append(table)
        for stem, parts in tables.items():
            path = self._places.new_file(stem, self._clock().wall_s)
            commit.waiting.append((path, self._rows.encode(parts, self._compression)))
        return commit

    def _by_period(self, batch: Batch, made: BatchTable) -> list[tuple[Path, Any]]:
        """The parts of a batch's table, each with the path of its period."""
        if not self._places.dated:
            return [(self._places.stem_of(""), made.table)]
        now = from_epoch(self._clock().wall_s)
        if not batch.lifted and batch.received_at.values is None:
            return [(self._places.stem_of(from_epoch(batch.received_at.same)), made.table)]
        hours = [(text or now)[:HOUR] for text in metadata(batch)[0]]
        stems = {hour: self._places.stem_of(hour) for hour in dict.fromkeys(hours)}
        if len(set(stems.values())) == 1:
            return [(stems[hours[0]], made.table)]
        rows: dict[Path, list[int]] = {}
        for row, index in enumerate(made.indexes):
            rows.setdefault(stems[hours[index]], []).append(row)
        return [(stem, made.table.take(chosen)) for stem, chosen in rows.items()]
