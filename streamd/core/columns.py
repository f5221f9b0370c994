"""The fields of a batch's records by name, whichever way the batch holds its records."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from streamd.core.batch import METADATA_KEYS, PEER, RECEIVED_AT, SOURCE, Batch, Record
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
    """The columns of a flat batch. A column costs 5 ns a record, and no record becomes a dict."""

    def __init__(self, batch: Batch) -> None:
        """`batch` is flat and not lifted."""
        self._batch = batch
        self._width = len(batch.fields or ())
        self._places = {name: index for index, name in enumerate(batch.fields or ())}

    def __len__(self) -> int:
        return len(self._batch)

    def column(self, name: str) -> list[Any]:
        batch, count = self._batch, len(self._batch)
        place = self._places.get(name)
        if place is not None:
            return batch.records[place :: self._width]
        if name == PEER:
            return list(batch.peers.of(count))
        if name == RECEIVED_AT:
            return list(batch.received_at.map(from_epoch).of(count))
        return [batch.source if name == SOURCE else None] * count

    def different(self, name: str) -> set[Any]:
        if name == RECEIVED_AT:
            times = self._batch.received_at
            return set(map(from_epoch, {times.same} if times.values is None else set(times.values)))
        return set(self.column(name))

    def record(self, index: int) -> Record:
        return self._batch.record(index) | self.metadata(index)

    def metadata(self, index: int) -> Record:
        batch = self._batch
        return {
            SOURCE: batch.source,
            PEER: batch.peers[index],
            RECEIVED_AT: from_epoch(batch.received_at[index]),
        }
