"""Frames that a source has read, not yet decoded."""

from collections.abc import Sequence
from typing import Self

from streamd.core.ack import Ack, Status
from streamd.core.acks import Acks
from streamd.core.column import Column
from streamd.core.peer import Peer

FRAME_OVERHEAD_BYTES = 48
"""Memory of a bytes object in CPython without its content, and of the reference to it in a list."""


class FlaggedFrame(bytes):
    """A frame that differs from what its sender meant; `flag` is the reason: `truncated`, `unterminated`."""

    flag: str

    def __new__(cls, data: bytes, flag: str) -> Self:
        self = super().__new__(cls, data)
        self.flag = flag
        return self


class RefusedFrame(bytes):
    """A frame that its source refuses: it becomes a dead letter with this reason instead of records."""

    reason: str
    detail: str

    def __new__(cls, data: bytes, reason: str, detail: str) -> Self:
        self = super().__new__(cls, data)
        self.reason = reason
        self.detail = detail
        return self


class Frames:
    """Frames of one or several reads, in order.

    `received_at` is the wall clock in seconds. `size_bytes` is the memory of the frames. If `flagged` is
    True, some frames may be `FlaggedFrame` or `RefusedFrame`. `acks` is None if the source waits for no
    frame.
    """

    __slots__ = ("acks", "flagged", "payloads", "peers", "received_at", "size_bytes")

    def __init__(
        self,
        payloads: list[bytes],
        peers: Column[Peer],
        received_at: Column[float],
        *,
        acks: Acks | None = None,
        flagged: bool = False,
        size_bytes: int | None = None,
    ) -> None:
        self.payloads = payloads
        self.peers = peers
        self.received_at = received_at
        self.acks = acks
        self.flagged = flagged
        if size_bytes is None:
            size_bytes = sum(map(len, payloads)) + FRAME_OVERHEAD_BYTES * len(payloads)
        self.size_bytes = size_bytes

    @classmethod
    def of(
        cls,
        payloads: list[bytes],
        peers: str | Sequence[str],
        received_at: float | Sequence[float],
        *,
        ack: Ack | None = None,
        flagged: bool = False,
        size_bytes: int | None = None,
    ) -> Self:
        """Frames with one ack, and with one peer and time for all frames or a list with one for each.

        A call makes a `Peer` of each plain text, so this is for sources that read little at a time.
        """
        return cls(
            payloads,
            Column(_peer(peers))
            if isinstance(peers, str)
            else Column.each(list(map(_peer, peers)), Peer("")),
            Column(received_at) if isinstance(received_at, float) else Column.each([*received_at], 0.0),
            acks=Acks.same(ack, len(payloads)),
            flagged=flagged,
            size_bytes=size_bytes,
        )

    def __len__(self) -> int:
        return len(self.payloads)

    def whole(self, count: int) -> tuple[int, int]:
        """The most frames up to `count`, and the least from `count` on, behind which they may be divided.

        A part of an input that is read again stays whole, unless its frames have numbers.
        """
        return (count, count) if self.acks is None else self.acks.whole(count, of_frames=True)

    def split(self, count: int) -> "tuple[Frames, Frames]":
        """The first `count` frames and the rest (0 < count < len)."""
        acks = (None, None) if self.acks is None else self.acks.split(count, of_frames=True)
        head_bytes = self.size_bytes * count // len(self.payloads)
        head, tail = (
            Frames(
                self.payloads[start:stop],
                self.peers.part(start, stop),
                self.received_at.part(start, stop),
                acks=acks[place],
                flagged=self.flagged,
                size_bytes=size_bytes,
            )
            for place, (start, stop, size_bytes) in enumerate(
                ((None, count, head_bytes), (count, None, self.size_bytes - head_bytes))
            )
        )
        return head, tail

    def sorted_out(self, rows: Sequence[Sequence[int]]) -> "list[Frames]":
        """The frames of each list of row indexes, which ascend. The lists together hold all rows."""
        acks = [None] * len(rows) if self.acks is None else self.acks.sorted_out(rows)
        return [
            Frames(
                list(map(self.payloads.__getitem__, chosen)),
                self.peers.take(chosen),
                self.received_at.take(chosen),
                acks=of_these,
                flagged=self.flagged,
            )
            for chosen, of_these in zip(rows, acks, strict=True)
        ]

    @staticmethod
    def merge(parts: "Sequence[Frames]") -> "Frames":
        """All parts as one object, in order. At least one part."""
        if len(parts) == 1:
            return parts[0]
        payloads: list[bytes] = []
        for part in parts:
            payloads += part.payloads
        return Frames(
            payloads,
            Column.merge([(part.peers, len(part)) for part in parts]),
            Column.merge([(part.received_at, len(part)) for part in parts]),
            acks=Acks.merge([(part.acks, len(part)) for part in parts]),
            flagged=any(part.flagged for part in parts),
            size_bytes=sum(part.size_bytes for part in parts),
        )

    def peer(self, index: int) -> Peer:
        """The sender of the frame at `index`."""
        return self.peers[index]

    def time(self, index: int) -> float:
        """When the frame at `index` was read (wall clock, seconds)."""
        return self.received_at[index]

    def settle(self, status: Status) -> None:
        """Settle all frames for one holder, if they have acks."""
        if self.acks is not None:
            self.acks.settle(status)


def _peer(text: str) -> Peer:
    return text if isinstance(text, Peer) else Peer(text)
