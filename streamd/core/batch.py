"""What flows from decode to sink: records of one source in one pipeline."""

from datetime import datetime
from typing import Any

from streamd.core.ack import Ack
from streamd.core.timestamp import from_epoch

Record = dict[str, Any]
"""What codecs make, steps change and sinks store. Keys that begin with `@` are metadata."""

SOURCE, PEER, RECEIVED_AT, FLAG = "@source", "@peer", "@received_at", "@flag"
METADATA_KEYS = (SOURCE, PEER, RECEIVED_AT)


def peer_of(record: Any) -> str | None:
    """Who sent a lifted record; None where a step made it of nothing a peer sent."""
    peer = record.get(PEER) if isinstance(record, dict) else None
    return peer if isinstance(peer, str) else None


def received_at_of(record: Any, otherwise: float) -> float:
    """When a lifted record was read (wall clock, seconds); `otherwise` where a step left no time in it."""
    text = record.get(RECEIVED_AT) if isinstance(record, dict) else None
    try:
        moment = datetime.fromisoformat(text)  # type: ignore[arg-type]  # no text is a TypeError
        return otherwise if moment.tzinfo is None else moment.timestamp()
    except (TypeError, ValueError, OverflowError):
        return otherwise


def copied(record: Record) -> Record:
    """The record again, with dicts and lists of its own at every depth; other values are shared.

    Costs about 0.3 µs a dict. Raises `RecursionError` for a record that holds itself.
    """
    return {k: _copied(v) if type(v) in (dict, list) else v for k, v in record.items()}


def _copied(value: Any) -> Any:
    if type(value) is dict:
        return copied(value)
    return [_copied(v) if type(v) in (dict, list) else v for v in value]


class Batch:
    """Records in order, all of one source and one pipeline.

    `records` are dicts. Where `fields` are given they are laid flat instead: the values of each record in
    the order of `fields`, one record after the other, checked by the schema whose fields they are. That is
    the fast lane of a pipeline in which nothing between decode and sink needs a dict.

    Until a step may have changed their number, `peers` and `received_at` (wall clock, seconds) hold one
    value for all records or a list with one for each; after that (`lifted`) they stand in the records as
    `@source`, `@peer` and `@received_at`. Sinks never change a record: another sink may hold it too.
    """

    __slots__ = (
        "ack", "fields", "lifted", "peers", "pipeline", "received_at", "records", "size_bytes", "source",
    )  # fmt: skip

    def __init__(
        self,
        records: list[Any],
        source: str,
        pipeline: str,
        peers: str | list[str],
        received_at: float | list[float],
        *,
        fields: tuple[str, ...] | None = None,
        lifted: bool = False,
        ack: Ack | None = None,
        size_bytes: int = 0,
    ) -> None:
        self.records = records
        self.source = source
        self.pipeline = pipeline
        self.peers = peers
        self.received_at = received_at
        self.fields = fields
        self.lifted = lifted
        self.ack = ack
        self.size_bytes = size_bytes

    def __len__(self) -> int:
        return len(self.records) // len(self.fields) if self.fields else len(self.records)

    def split(self, count: int) -> "tuple[Batch, Batch]":
        """The first `count` records and the rest; both hold the ack (0 < count < len)."""
        head_bytes = self.size_bytes * count // len(self)
        width = len(self.fields) if self.fields else 1
        head, tail = (
            Batch(
                self.records[slice(part.start and part.start * width, part.stop and part.stop * width)],
                self.source,
                self.pipeline,
                self.peers if isinstance(self.peers, str) else self.peers[part],
                self.received_at if isinstance(self.received_at, float) else self.received_at[part],
                fields=self.fields,
                lifted=self.lifted,
                ack=self.ack,
                size_bytes=size_bytes,
            )
            for part, size_bytes in (
                (slice(None, count), head_bytes),
                (slice(count, None), self.size_bytes - head_bytes),
            )
        )
        if self.ack is not None:
            self.ack.fork()
        return head, tail

    def record(self, index: int) -> Record:
        """The record at `index` as a dict: the one that is there, or one made of the flat values."""
        if self.fields is None:
            record: Record = self.records[index]
            return record
        width = len(self.fields)
        return dict(zip(self.fields, self.records[index * width : (index + 1) * width], strict=True))

    def peer(self, index: int) -> str | None:
        """Who sent the record at `index`; None where a step made it of nothing a peer sent."""
        if self.lifted:
            return peer_of(self.records[index])
        return self.peers if isinstance(self.peers, str) else self.peers[index]

    def time(self, index: int) -> float:
        """When the record at `index` was read (wall clock, seconds)."""
        if self.lifted:
            return received_at_of(self.records[index], self.first_received_at)
        return self.received_at if isinstance(self.received_at, float) else self.received_at[index]

    @property
    def first_received_at(self) -> float:
        """When the first of it was read (wall clock, seconds)."""
        return self.received_at if isinstance(self.received_at, float) else self.received_at[0]

    def lift(self) -> None:
        """Put each record's metadata into it: from here on the number of records may change."""
        if self.lifted:
            return
        source, peers, times = self.source, self.peers, self.received_at
        self.lifted = True
        if isinstance(peers, str) and isinstance(times, float):
            received_at = from_epoch(times)
            for record in self.records:
                record[SOURCE] = source
                record[PEER] = peers
                record[RECEIVED_AT] = received_at
            return
        count = len(self.records)
        each_peer = [peers] * count if isinstance(peers, str) else peers
        texts: dict[float, str] = {}
        each_time = [times] * count if isinstance(times, float) else times
        for record, peer, time_s in zip(self.records, each_peer, each_time, strict=True):
            text = texts.get(time_s)
            if text is None:
                text = texts[time_s] = from_epoch(time_s)
            record[SOURCE] = source
            record[PEER] = peer
            record[RECEIVED_AT] = text
        # A list with one for each record would be wrong as soon as a step changes their number.
        self.peers = ""
        self.received_at = each_time[0] if count else 0.0

    def part(self, records: list[Record], ack: Ack | None) -> "Batch":
        """Some records of this batch, which is lifted, as a batch of their own."""
        return Batch(
            records,
            self.source,
            self.pipeline,
            self.peers,
            self.received_at,
            lifted=True,
            ack=ack,
            size_bytes=self.size_bytes * len(records) // max(len(self.records), 1),
        )
