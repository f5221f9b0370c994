"""Batches: records of one source in one pipeline, between the codec and the sinks."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from streamd.core.ack import Ack, Status
from streamd.core.acks import Acks
from streamd.core.column import Column
from streamd.core.timestamp import from_epoch

Record = dict[str, Any]
"""A decoded record. Keys that begin with `@` are metadata."""

SOURCE, PEER, RECEIVED_AT, FLAG = "@source", "@peer", "@received_at", "@flag"
METADATA_KEYS = (SOURCE, PEER, RECEIVED_AT)


def peer_of(record: Any) -> str | None:
    """The sender of a lifted record; None if a step made the record without one."""
    peer = record.get(PEER) if isinstance(record, dict) else None
    return peer if isinstance(peer, str) else None


def received_at_of(record: Any, otherwise: float) -> float:
    """When a lifted record was read (wall clock, seconds); `otherwise` if a step removed the time."""
    text = record.get(RECEIVED_AT) if isinstance(record, dict) else None
    try:
        moment = datetime.fromisoformat(text)  # type: ignore[arg-type]  # no text is a TypeError
        return otherwise if moment.tzinfo is None else moment.timestamp()
    except (TypeError, ValueError, OverflowError):
        return otherwise


def copied(record: Record) -> Record:
    """A copy of the record with its own dicts and lists at every depth; other values are shared.

    Costs about 0.3 µs per dict. Raises `RecursionError` for a record that contains itself.
    """
    return {k: copied_value(v) if type(v) in (dict, list) else v for k, v in record.items()}


def copied_value(value: Any) -> Any:
    """As `copied`, for any value."""
    if type(value) is dict:
        return copied(value)
    if type(value) is list:
        return [copied_value(v) if type(v) in (dict, list) else v for v in value]
    return value


class Batch:
    """Records of one source in one pipeline, in order.

    `records` are dicts. If `fields` is set, `records` is flat instead: it holds the values of each record in
    the order of `fields`, one record after the other, checked by their schema. This is the fast lane of a
    pipeline whose steps and conditions need no dicts.

    In a batch that is not lifted, `peers` and `received_at` (wall clock, seconds) have a row for each record.
    In a lifted batch the records hold these values as `@source`, `@peer` and `@received_at`, because a step
    may have changed the number of records. `acks` always has a row for each record, or is None if no source
    waits for them. Sinks never change a record, because other sinks share it.
    """

    __slots__ = (
        "acks", "fields", "lifted", "peers", "pipeline", "received_at", "records", "replaced", "size_bytes",
        "source",
    )  # fmt: skip

    def __init__(
        self,
        records: list[Any],
        source: str,
        pipeline: str,
        peers: Column[str],
        received_at: Column[float],
        *,
        fields: tuple[str, ...] | None = None,
        lifted: bool = False,
        acks: Acks | None = None,
        size_bytes: int = 0,
    ) -> None:
        self.records = records
        self.replaced: list[Any] | None = None
        """What `records` were before steps chose some and set values; nobody reads it. See `set_values`."""
        self.source = source
        self.pipeline = pipeline
        self.peers = peers
        self.received_at = received_at
        self.fields = fields
        self.lifted = lifted
        self.acks = acks
        self.size_bytes = size_bytes

    @classmethod
    def of(
        cls,
        records: list[Any],
        source: str,
        pipeline: str,
        peers: str | Sequence[str],
        received_at: float | Sequence[float],
        *,
        ack: Ack | None = None,
        fields: tuple[str, ...] | None = None,
        lifted: bool = False,
        size_bytes: int = 0,
    ) -> Self:
        """A batch with one ack, and with one peer and time for all records or a list with one for each."""
        self = cls(
            records,
            source,
            pipeline,
            Column(peers) if isinstance(peers, str) else Column.each([*peers], ""),
            Column(received_at) if isinstance(received_at, float) else Column.each([*received_at], 0.0),
            fields=fields,
            lifted=lifted,
            size_bytes=size_bytes,
        )
        self.acks = Acks.same(ack, len(self))
        return self

    def __len__(self) -> int:
        return len(self.records) // len(self.fields) if self.fields else len(self.records)

    def whole(self, count: int) -> tuple[int, int]:
        """The most records up to `count`, and the least from `count` on, that end with an input part."""
        return (count, count) if self.acks is None else self.acks.whole(count)

    def split(self, count: int) -> "tuple[Batch, Batch]":
        """The first `count` records and the rest (0 < count < len)."""
        acks = (None, None) if self.acks is None else self.acks.split(count)
        head_bytes = self.size_bytes * count // len(self)
        head, tail = (
            self.part(start, stop, acks[place], size_bytes)
            for place, (start, stop, size_bytes) in enumerate(
                ((0, count, head_bytes), (count, len(self), self.size_bytes - head_bytes))
            )
        )
        return head, tail

    def part(self, start: int, stop: int, acks: Acks | None, size_bytes: int) -> "Batch":
        """The records from `start` up to `stop`, with the given acks and size."""
        width = len(self.fields) if self.fields else 1
        return Batch(
            self.records[start * width : stop * width],
            self.source,
            self.pipeline,
            self.peers.part(start, stop),
            self.received_at.part(start, stop),
            fields=self.fields,
            lifted=self.lifted,
            acks=acks,
            size_bytes=size_bytes,
        )

    def record(self, index: int) -> Record:
        """The record at `index` as a dict; made new if the batch is flat."""
        if self.fields is None:
            record: Record = self.records[index]
            return record
        width = len(self.fields)
        return dict(zip(self.fields, self.records[index * width : (index + 1) * width], strict=True))

    def peer(self, index: int) -> str | None:
        """The sender of the record at `index`; None if a step made the record without one."""
        return peer_of(self.records[index]) if self.lifted else self.peers[index]

    def time(self, index: int) -> float:
        """When the record at `index` was read (wall clock, seconds)."""
        if self.lifted:
            return received_at_of(self.records[index], self.first_received_at)
        return self.received_at[index]

    @property
    def first_received_at(self) -> float:
        """When the first record was read (wall clock, seconds)."""
        return self.received_at.same

    def lift(self) -> None:
        """Put the metadata into the records, so that steps may change their number."""
        if self.lifted:
            return
        source, peers, times = self.source, self.peers, self.received_at
        self.lifted = True
        if peers.values is None and times.values is None:
            peer, received_at = peers.same, from_epoch(times.same)
            for record in self.records:
                record[SOURCE] = source
                record[PEER] = peer
                record[RECEIVED_AT] = received_at
            return
        count = len(self.records)
        texts: dict[float, str] = {}
        for record, peer, time_s in zip(self.records, peers.of(count), times.of(count), strict=True):
            text = texts.get(time_s)
            if text is None:
                text = texts[time_s] = from_epoch(time_s)
            record[SOURCE] = source
            record[PEER] = peer
            record[RECEIVED_AT] = text
        self.peers = Column("")
        self.received_at = Column(times.same if count else 0.0)

    def set_values(self, values: list[Any], peers: Column[str], received_at: Column[float]) -> None:
        """Replace the values of this flat batch, and what it has for each record.

        The values before are kept as long as the batch, unless most of them are needless. So all are freed
        at once, in the reverse order of their creation, and the next records get memory that lies together.
        If values of one batch are freed at different times, later records are scattered over twice as many
        pages, and to make and to read them costs a fifth more (measured with `set` and typed records).
        """
        before = self.records
        self.records, self.peers, self.received_at = values, peers, received_at
        if values is not before and 2 * len(values) >= len(before):
            self.replaced = before
            self.size_bytes += 16 * len(values)  # the new list, and of three values a new number

    def turn_into_dicts(self, records: list[Record]) -> None:
        """Replace the values of this flat batch by lifted records."""
        self.records, self.fields, self.lifted = records, None, True
        self.peers, self.received_at = Column(""), Column(self.first_received_at)
        self.size_bytes *= 2  # a flat batch takes half the memory

    def chosen(self, records: list[Record], acks: Acks | None) -> "Batch":
        """A batch of some records of this lifted batch."""
        return Batch(
            records,
            self.source,
            self.pipeline,
            self.peers,
            self.received_at,
            lifted=True,
            acks=acks,
            size_bytes=self.size_bytes * len(records) // max(len(self.records), 1),
        )

    def settle(self, status: Status) -> None:
        """Settle all records for one holder, if they have acks."""
        if self.acks is not None:
            self.acks.settle(status)
