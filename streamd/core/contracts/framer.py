"""The contract of framings."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from streamd.core.settings import Settings

C = TypeVar("C", bound=Settings)


class Framer(ABC, Generic[C]):
    """Cuts the bytes of one connection into frames. Each connection has its own framer, which is pure logic.

    However the bytes are divided over calls of `feed`, the frames are the same. A framer holds at most
    `max_frame` bytes of an unfinished frame and its prefix, whatever length the prefix announces. It counts
    in `counts` under the names of `counters`; its owner moves these numbers to the books.

    A framing with options derives from `Framer["Name.Config"]`, one without from `Framer[Settings]`.
    """

    delimiter: ClassVar[bytes] = b""
    """The bytes that end each frame and never occur inside one; empty if the framing has no such bytes."""
    cuts_lines: ClassVar[bool] = True
    """Whether a frame may be a line of text, which the option `multiline` of a source joins with others."""
    nul_is_data: ClassVar[bool] = False
    """Whether NUL bytes before a frame are data; otherwise a file source takes them for a hole."""

    counters: ClassVar[Mapping[str, str]] = {
        "truncated": "frames cut at `max_frame`",
        "oversize_dropped": "frames over `max_frame`, dropped",
        "unterminated": "last frames of a connection without their line end, kept",
        "incomplete": "counted frames whose sender closed before their end, discarded",
        "empty_frames": "frames of length 0, skipped",
        "discarded_bytes": "bytes that never became a frame",
    }
    """The counters of framings, each with its meaning in one sentence; a framing may add others."""

    class Config(Settings):
        """The options of this framing."""

    def __init__(self, config: C, max_frame: int, oversize: str) -> None:
        self.config = config
        self.max_frame = max_frame
        self.oversize = oversize
        self.counts: dict[str, int] = {}

    @property
    def digest(self) -> str:
        """Digest of type and options. Framers with equal digests cut the same bytes into the same frames."""
        cls, options = type(self), self.config.model_dump(mode="json")
        parts = [cls.__module__, cls.__qualname__, options, self.max_frame, self.oversize]
        text = json.dumps(parts, sort_keys=True, default=repr)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @abstractmethod
    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes. Raises `FramingError` if the next frame cannot be found."""

    @abstractmethod
    def feed_eof(self) -> list[bytes]:
        """The last frames after the sender has closed.

        An unfinished frame is returned with the flag `unterminated`, or counted as discarded bytes.
        """

    @property
    @abstractmethod
    def waiting_bytes(self) -> int:
        """Bytes held of an unfinished frame."""

    @property
    @abstractmethod
    def between_frames(self) -> bool:
        """Whether the next byte begins a frame: no frame is unfinished or being skipped."""

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to `counts[name]`."""
        self.counts[name] = self.counts.get(name, 0) + n


AnyFramer = Framer[Any]
"""A framer with options of any type."""
