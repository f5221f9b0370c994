"""What a source hands on: the frames of one read, still bytes."""

from collections.abc import Sequence
from typing import Self

from streamd.core.ack import Ack

FRAME_OVERHEAD_BYTES = 48
"""What CPython needs for a bytes object beside its content, with its place in a list."""


class FlaggedFrame(bytes):
    """A frame that is not as its sender meant it; `flag` says why (`truncated`, `unterminated`)."""

    flag: str

    def __new__(cls, data: bytes, flag: str) -> Self:
        self = super().__new__(cls, data)
        self.flag = flag
        return self


class Frames:
    """Frames of one or several reads, in order.

    `peers` and `received_at` (wall clock, seconds) hold one value for all frames, or a list with one for
    each. `size_bytes` is the memory they take. `flagged` says that a `FlaggedFrame` may be among them.
    `ack` is None where nobody waits for the fate of the frames.
    """

    __slots__ = ("ack", "flagged", "payloads", "peers", "received_at", "size_bytes")

    def __init__(
        self,
        payloads: list[bytes],
        peers: str | list[str],
        received_at: float | list[float],
        *,
        ack: Ack | None = None,
        flagged: bool = False,
        size_bytes: int | None = None,
    ) -> None:
        self.payloads = payloads
        self.peers = peers
        self.received_at = received_at
        self.ack = ack
        self.flagged = flagged
        if size_bytes is None:
            size_bytes = sum(map(len, payloads)) + FRAME_OVERHEAD_BYTES * len(payloads)
        self.size_bytes = size_bytes

    def __len__(self) -> int:
        return len(self.payloads)

    def split(self, count: int) -> "tuple[Frames, Frames]":
        """The first `count` frames and the rest; both hold the ack (0 < count < len)."""
        head_bytes = self.size_bytes * count // len(self.payloads)
        head, tail = (
            Frames(
                self.payloads[part],
                self.peers if isinstance(self.peers, str) else self.peers[part],
                self.received_at if isinstance(self.received_at, float) else self.received_at[part],
                ack=self.ack,
                flagged=self.flagged,
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

    @staticmethod
    def merge(parts: "Sequence[Frames]") -> "Frames":
        """All parts as one, in order, with each frame's own peer and time. At least one part."""
        if len(parts) == 1:
            return parts[0]
        payloads: list[bytes] = []
        peers: list[str] = []
        received_at: list[float] = []
        for part in parts:
            payloads += part.payloads
            peers += [part.peers] * len(part) if isinstance(part.peers, str) else part.peers
            received_at += (
                [part.received_at] * len(part) if isinstance(part.received_at, float) else part.received_at
            )
        return Frames(
            payloads,
            peers,
            received_at,
            ack=Ack.merge([part.ack for part in parts]),
            flagged=any(part.flagged for part in parts),
            size_bytes=sum(part.size_bytes for part in parts),
        )

    def peer(self, index: int) -> str:
        """Who sent the frame at `index`."""
        return self.peers if isinstance(self.peers, str) else self.peers[index]

    def time(self, index: int) -> float:
        """When the frame at `index` was read (wall clock, seconds)."""
        return self.received_at if isinstance(self.received_at, float) else self.received_at[index]
