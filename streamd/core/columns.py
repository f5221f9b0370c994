"""The fields of a batch's records by name, whichever way the batch holds its records."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import compress
from operator import itemgetter
from typing import Any

from streamd.core.batch import METADATA_KEYS, PEER, RECEIVED_AT, SOURCE, Batch, Record
from streamd.core.column import Column
from streamd.core.facts import Facts
from streamd.core.schema import Schema
from streamd.core.timestamp import from_epoch


class Columns(ABC):
    """A view of some records, for a step that reads a few fields of each.

    Metadata are fields too: `@source`, `@peer` and `@received_at`.
    """

    @abstractmethod
    def __len__(self) -> int:
        """The number of records."""

    @abstractmethod
    def column(self, name: str) -> Sequence[Any]:
        """The values of a field, in order; None for a record without it."""

    def facts(self, name: str) -> Facts:
        """The values of a field, and what they have in common."""
        return Facts(self.column(name))

    @abstractmethod
    def different(self, name: str) -> set[Any]:
        """The different values of a field. Raises TypeError if one cannot be in a set."""

    @abstractmethod
    def record(self, index: int) -> Record:
        """The record at `index` with its metadata. It may be made for this call."""

    @abstractmethod
    def metadata(self, index: int) -> Record:
        """The metadata that the record at `index` has."""

    def records(self) -> list[Record]:
        """All records with their metadata."""
        return [self.record(index) for index in range(len(self))]


class RecordColumns(Columns):
    """The columns of dicts."""

    def __init__(self, records: list[Record]) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def column(self, name: str) -> list[Any]:
        try:
            return list(map(itemgetter(name), self._records))
        except KeyError:
            return [record.get(name) for record in self._records]

    def different(self, name: str) -> set[Any]:
        try:
            return set(map(itemgetter(name), self._records))
        except KeyError:
            return {record.get(name) for record in self._records}

    def record(self, index: int) -> Record:
        return self._records[index]

    def metadata(self, index: int) -> Record:
        record = self._records[index]
        try:
            return {SOURCE: record[SOURCE], PEER: record[PEER], RECEIVED_AT: record[RECEIVED_AT]}
        except KeyError:
            return {name: record[name] for name in METADATA_KEYS if name in record}


class FlatColumns(Columns):
    """The columns of a flat batch. A column costs 5 ns a record, and no record becomes a dict.

    A column is read only once, so nobody may change its list. `chosen` and `with_columns` return new columns.
    """

    def __init__(
        self,
        batch: Batch,
        read: dict[str, list[Any]] | None = None,
        *,
        count: int | None = None,
        changed: frozenset[str] = frozenset(),
        added: tuple[str, ...] = (),
        facts: dict[str, Facts] | None = None,
    ) -> None:
        """`batch` is flat and not lifted. The other arguments are for `chosen` and `with_columns`."""
        self.names = batch.fields or ()
        """The fields of the batch, which each record has."""
        self.changed = changed
        """The fields of the batch with values that a step has set."""
        self.added = added
        """The fields that steps have added."""
        self._batch = batch
        self._count = len(batch) if count is None else count
        self._places = {name: index for index, name in enumerate(self.names)}
        self._read = {} if read is None else read
        self._facts = {} if facts is None else facts

    def __len__(self) -> int:
        return self._count

    @property
    def source(self) -> str:
        """The source of all records."""
        return self._batch.source

    @property
    def peers(self) -> Column[str]:
        """The sender of each record."""
        return self._batch.peers

    @property
    def received_at(self) -> Column[float]:
        """When each record was read (wall clock, seconds)."""
        return self._batch.received_at

    def column(self, name: str) -> list[Any]:
        column = self._read.get(name)
        if column is None:
            column = self._read[name] = self._read_column(name)
        return column

    def facts(self, name: str) -> Facts:
        facts = self._facts.get(name)
        if facts is None:
            facts = self._facts[name] = Facts(self.column(name))
        return facts

    def _read_column(self, name: str) -> list[Any]:
        place = self._places.get(name)
        if place is not None:
            return self._batch.records[place :: len(self.names)]
        if name == PEER:
            return list(self._batch.peers.of(self._count))
        if name == RECEIVED_AT:
            return list(self._batch.received_at.map(from_epoch).of(self._count))
        return [self._batch.source if name == SOURCE else None] * self._count

    def different(self, name: str) -> set[Any]:
        if name == RECEIVED_AT:
            times = self._batch.received_at
            return set(map(from_epoch, {times.same} if times.values is None else set(times.values)))
        return set(self.column(name))

    def record(self, index: int) -> Record:
        record = {name: self.column(name)[index] for name in self.names} | self.metadata(index)
        for name in self.added:
            record[name] = self.column(name)[index]
        return record

    def metadata(self, index: int) -> Record:
        return {
            SOURCE: self._batch.source,
            PEER: self._batch.peers[index],
            RECEIVED_AT: from_epoch(self._batch.received_at[index]),
        }

    def records(self) -> list[Record]:
        names = (*self.names, *METADATA_KEYS, *self.added)
        return _maker(names)(zip(*map(self.column, names), strict=True))

    def chosen(self, keep: Sequence[bool]) -> "FlatColumns":
        """The records for which `keep` is true. Costs 15 ns for each value that is kept."""
        count = keep.count(True)
        if count == self._count:
            return self
        batch = self._batch
        rows = list(compress(range(self._count), keep))
        return FlatColumns(
            Batch(
                [],
                batch.source,
                batch.pipeline,
                batch.peers.take(rows),
                batch.received_at.take(rows),
                fields=batch.fields,
            ),
            {name: list(compress(self.column(name), keep)) for name in (*self.names, *self.added)},
            count=count,
            changed=self.changed,
            added=self.added,
        )

    def with_columns(self, values: Mapping[str, list[Any]]) -> "FlatColumns":
        """The same records with other values of some fields, or with more fields. Costs 3 µs."""
        new = tuple(name for name in values if name not in self._places and name not in self.added)
        return FlatColumns(
            self._batch,
            {**self._read, **values},
            count=self._count,
            changed=self.changed | (self._places.keys() & values.keys()),
            added=self.added + new,
            facts={name: facts for name, facts in self._facts.items() if name not in values},
        )

    def fits(self, schema: Schema) -> bool:
        """Whether the records have the fields of this schema, which they were decoded with, and no others."""
        return not self.added and all(schema.fits(name, self.facts(name)) for name in self.changed)

    def values(self) -> list[Any]:
        """The values of all records in the order of `names`, one record after the other."""
        if self._count == len(self._batch):
            names, values = self.changed, self._batch.records
            if not names:
                return values
            values = values.copy()
        else:
            names = frozenset(self.names)
            values = [None] * (len(names) * self._count)
        for name in names:
            values[self._places[name] :: len(self.names)] = self.column(name)
        return values


@lru_cache(maxsize=64)
def _maker(names: tuple[str, ...]) -> Callable[[Iterable[tuple[Any, ...]]], list[Record]]:
    """Makes dicts with these keys from rows of values; twice as fast as `dict(zip(...))`.

    The names of fields are quoted constants in its code.
    """
    variables = [f"value_{place}" for place in range(len(names))]
    items = ", ".join(f"{name!a}: {variable}" for name, variable in zip(names, variables, strict=True))
    code = f"lambda rows: [{{{items}}} for {', '.join(variables)} in rows]"
    make: Callable[[Iterable[tuple[Any, ...]]], list[Record]] = eval(code, {"__builtins__": {}})  # noqa: S307 - see above
    return make
