"""Locates a table's records: its files, its column types, and the pipelines that write to it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from streamd.config import Loaded
from streamd.core.errors import ConfigError
from streamd.core.listed import listed
from streamd.core.schema import FieldType
from streamd.files.dated import DatedPath, is_dated
from streamd.sinks.sqlite import Sqlite
from streamd.sqlite.attached import existing
from streamd.sqlite.files import foreign
from streamd.sqlite.rows import METADATA_COLUMNS

CATCH_ALL_TYPES: dict[str, FieldType] = {
    "id": "int", "received_at": "timestamp", "source": "str", "peer": "str", "record": "json",
}  # fmt: skip
_METADATA_TYPES: dict[str, FieldType] = {
    column: "timestamp" if column == "received_at" else "str" for column in METADATA_COLUMNS
}


@dataclass(frozen=True)
class StoredTable:
    """One table in one file, or in several if `path` is dated.

    `types` holds column types that SQL does not have (times, bools). For all other columns the SQL type
    counts. `sources`, `pipelines` and `sink` are those that write into the table; None: not known.
    """

    table: str
    path: Path
    ledger: Path
    types: dict[str, FieldType] = field(default_factory=dict)
    sources: frozenset[str] | None = None
    pipelines: frozenset[str] | None = None
    sink: str | None = None

    def files(self) -> list[Path]:
        """The existing files, oldest first. Of a dated path, only those that may be databases."""
        files = existing(self.path)
        return [path for path in files if foreign(path) is None] if is_dated(self.path) else files

    def up_to(self, moment: datetime) -> Iterator[Path]:
        """The existing databases, newest first, without those of a later period than `moment`.

        If all files are of later periods, these are returned.
        """
        files = existing(self.path)
        if not is_dated(self.path):
            yield from reversed(files)
            return
        dated = DatedPath(self.path)
        present = [path for path in files if not dated.is_in_future(path, moment)]
        found = False
        for path in reversed(present):
            if foreign(path) is None:
                found = True
                yield path
        if not found:
            yield from (path for path in reversed(files) if path not in present and foreign(path) is None)

    def to_come(self, moment: datetime) -> list[Path]:
        """The files of a dated path for periods that begin after `moment`, oldest first."""
        if not is_dated(self.path):
            return []
        dated = DatedPath(self.path)
        return [path for path in existing(self.path) if dated.is_in_future(path, moment)]

    def left_out(self) -> dict[Path, str]:
        """Files under a dated path that are no databases, each with the reason."""
        if not is_dated(self.path):
            return {}
        return {path: why for path in existing(self.path) if (why := foreign(path)) is not None}


def in_file(path: Path, table: str) -> StoredTable:
    """A table in one file, read without a configuration."""
    return StoredTable(table, path, path)


def of_configuration(loaded: Loaded, name: str | None = None) -> StoredTable:
    """The table of a SQLite sink, by the name of the sink or the table; without a name the first sink's.

    Raises `ConfigError` if no sink matches, or if several sinks write a table of that name.
    """
    config = loaded.config
    sinks = {key: sink for key, sink in config.sinks.items() if isinstance(sink, Sqlite.Config)}
    if not sinks:
        others = listed(f"{key} ({sink.type})" for key, sink in config.sinks.items())
        first = next(iter(config.sinks))
        raise ConfigError(
            f"no sink is of type sqlite, so there is no table: there are {others}; `streamd tap sink:{first}`"
            " shows its records while they pass, and another database can be named as a file"
        )
    wanted = next(iter(sinks)) if name is None else name
    found = [key for key, sink in sinks.items() if wanted in (key, sink.table)]
    found = [key for key in found if key == wanted] or found
    if not found:
        known = listed(dict.fromkeys(word for key, sink in sinks.items() for word in (key, sink.table)))
        raise ConfigError(f"no sqlite sink and no table of one is called {wanted!r}; there are {known}")
    if len(found) > 1:
        raise ConfigError(f"several sinks write a table {wanted!r}: name one of them, {listed(found)}")
    (sink_name,) = found
    sink = sinks[sink_name]
    path = loaded.state_dir / sink.path
    writers = {name: pipeline for name, pipeline in config.pipelines.items() if sink_name in pipeline.sinks}
    return StoredTable(
        sink.table,
        path,
        loaded.state_dir / config.ledger.path,
        _types(loaded, sink),
        frozenset(source for pipeline in writers.values() for source in pipeline.sources),
        frozenset(writers),
        sink_name,
    )


def _types(loaded: Loaded, sink: Sqlite.Config) -> dict[str, FieldType]:
    schema = loaded.schemas.get(sink.schema_name or "")
    fields = {**(schema.fields if schema else {}), **sink.columns}
    if not fields:
        return dict(CATCH_ALL_TYPES)
    more: dict[str, FieldType] = dict(_METADATA_TYPES) if sink.metadata else {}
    if sink.extra == "json":
        more["extra"] = "json"
    return {column: settings.type for column, settings in fields.items()} | more
