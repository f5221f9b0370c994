"""What flows from decode to sink: records of one source in one pipeline."""

from typing import Any

from streamd.core.ack import Ack

Record = dict[str, Any]
"""What codecs make, steps change and sinks store. Keys that begin with `@` are metadata."""

SOURCE, PEER, RECEIVED_AT, FLAG = "@source", "@peer", "@received_at", "@flag"
METADATA_KEYS = (SOURCE, PEER, RECEIVED_AT)


class Batch:
    """Records in order, all of one source and one pipeline.

    `records` are all dicts, or (`typed`) all slotted structs of the source's schema: the fast lane that a
    pipeline takes where nothing between decode and sink needs a dict. Until a step may have changed
    their number, `peers` and `received_at` (wall clock, seconds) hold one value for all records or a list
    with one for each; after that (`lifted`) they stand in the records as `@source`, `@peer` and
    `@received_at`. Sinks never change a record: another sink may hold it too.
    """

    __slots__ = (
        "ack", "lifted", "peers", "pipeline", "received_at", "records", "size_bytes", "source", "typed",
    )  # fmt: skip

    def __init__(
        self,
        records: list[Any],
        source: str,
        pipeline: str,
        peers: str | list[str],
        received_at: float | list[float],
        *,
        typed: bool = False,
        lifted: bool = False,
        ack: Ack | None = None,
        size_bytes: int = 0,
    ) -> None:
        self.records = records
        self.source = source
        self.pipeline = pipeline
        self.peers = peers
        self.received_at = received_at
        self.typed = typed
        self.lifted = lifted
        self.ack = ack
        self.size_bytes = size_bytes

    def __len__(self) -> int:
        return len(self.records)

    def split(self, count: int) -> "tuple[Batch, Batch]":
        """The first `count` records and the rest; both hold the ack (0 < count < len)."""
        head_bytes = self.size_bytes * count // len(self.records)
        head, tail = (
            Batch(
                self.records[part],
                self.source,
                self.pipeline,
                self.peers if isinstance(self.peers, str) else self.peers[part],
                self.received_at if isinstance(self.received_at, float) else self.received_at[part],
                typed=self.typed,
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

    def peer(self, index: int) -> str | None:
        """Who sent the record at `index`; None where a step made it of nothing a peer sent."""
        if self.lifted:
            peer = self.records[index].get(PEER)
            return peer if isinstance(peer, str) else None
        return self.peers if isinstance(self.peers, str) else self.peers[index]
