"""The contract of framings."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from streamd.core.settings import Settings

C = TypeVar("C", bound=Settings)


class Framer(ABC, Generic[C]):
    """Cuts one connection's bytes into frames; one instance for each connection, pure logic.

    Any split of the same bytes gives the same frames. It holds at most `max_frame` bytes of an unfinished
    frame (and its prefix), whatever a length field may promise. What it counts it adds to `counts` under a
    name of the books (`truncated`, `oversize_dropped`, `discarded_bytes`, …); its owner empties that.

    A framing with options is `Framer["Name.Config"]`, one without is `Framer[Settings]`.
    """

    delimiter: ClassVar[bytes] = b""
    """What ends each frame and stands nowhere else; empty where the framing has no such bytes."""
    nul_is_data: ClassVar[bool] = False
    """Whether a NUL byte between two frames means something."""

    counters: ClassVar[Mapping[str, str]] = {
        "truncated": "frames cut at `max_frame`",
        "oversize_dropped": "frames over `max_frame`, dropped",
        "unterminated": "last frames of a connection without their line end, kept",
        "incomplete": "counted frames whose sender closed before their end, discarded",
        "empty_frames": "frames of length 0, skipped",
        "discarded_bytes": "bytes that never became a frame",
    }
    """The names that framings count, each with its meaning in one sentence; one may add others."""

    class Config(Settings):
        """What the configuration may say of this framing."""

    def __init__(self, config: C, max_frame: int, oversize: str) -> None:
        self.config = config
        self.max_frame = max_frame
        self.oversize = oversize
        self.counts: dict[str, int] = {}

    @abstractmethod
    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes. Raises `FramingError` where the stream cannot go on."""

    @abstractmethod
    def feed_eof(self) -> list[bytes]:
        """What is left when the peer has closed: flagged `unterminated`, or counted as discarded bytes."""

    @property
    @abstractmethod
    def waiting_bytes(self) -> int:
        """Bytes held of a frame that has begun and is not finished."""

    @property
    @abstractmethod
    def between_frames(self) -> bool:
        """Whether the next byte begins a frame: nothing is held, and no frame that was cut off goes on."""

    def count(self, name: str, n: int = 1) -> None:
        """Add to what the owner will put in the books."""
        self.counts[name] = self.counts.get(name, 0) + n


AnyFramer = Framer[Any]
"""A framer for code that does not look at its options."""
