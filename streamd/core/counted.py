"""The base of framings whose frames follow their length."""

from abc import abstractmethod
from typing import ClassVar

from streamd.core.contracts import Framer
from streamd.core.contracts.framer import C
from streamd.core.errors import BadData, FramingError
from streamd.core.frames import FlaggedFrame

_MAX_SKIP_BYTES = 16 * 2**20
_MAX_SKIP_FRAMES = 1024


def longest_skipped(max_frame: int) -> int:
    """The size in bytes of the longest frame that is skipped to its end."""
    return max_frame + min(_MAX_SKIP_BYTES, _MAX_SKIP_FRAMES * max_frame)


class Counted(Framer[C]):
    """Cuts frames that follow their length.

    Memory is allocated for received bytes only, never for an announced length. A frame longer than
    `max_frame` is skipped to its end if at most 16 MiB, or 1024 times `max_frame` if that is less, must be
    skipped. A longer one breaks the stream (`oversize`) under every policy, because the connection would give
    no frames for as long as its sender likes. For a lost frame, the prefix is part of `discarded_bytes`.
    Cost: about 0.5 µs per frame.
    """

    between: ClassVar[bytes] = b""
    """Bytes that are skipped between frames."""

    def __init__(self, config: C, max_frame: int, oversize: str) -> None:
        super().__init__(config, max_frame, oversize)
        self.longest_skipped = longest_skipped(max_frame)
        self._held = bytearray()
        self._needed = 0
        self._skip_left = 0

    @abstractmethod
    def read_prefix(self, data: bytes, at: int) -> tuple[int, int] | None:
        """The index of the body of the frame at `at`, and its length; None if the prefix is unfinished.

        Raises `BadData` if there is no valid prefix. The result depends on the bytes of the prefix only.
        """

    @property
    def waiting_bytes(self) -> int:
        """Bytes held: at most `max_frame` and a prefix; 0 while the rest of a frame is skipped."""
        return len(self._held)

    @property
    def between_frames(self) -> bool:
        """Whether the next byte begins a frame: no frame is unfinished or being skipped."""
        return not self._held and not self._skip_left

    def feed(self, data: bytes) -> list[bytes]:
        if self._held:
            if len(self._held) + len(data) < self._needed:
                self._held += data
                return []
            data = b"".join((self._held, data))
            self._held.clear()
        return self._take(data, self._skip(data, 0) if self._skip_left else 0)

    def feed_eof(self) -> list[bytes]:
        """No frames. An unfinished frame is counted as `incomplete`, its bytes as `discarded_bytes`."""
        if self._held:
            self.count("incomplete")
            self.count("discarded_bytes", len(self._held))
            self._held.clear()
        return []

    def _take(self, data: bytes, at: int) -> list[bytes]:
        """The frames from `at` on. The bytes behind the last whole frame are held."""
        frames: list[bytes] = []
        size = len(data)
        while at < size:
            if data[at] in self.between:
                at += 1
                continue
            try:
                prefix = self.read_prefix(data, at)
            except BadData as error:
                raise FramingError(error.reason, frames, size - at) from None
            if prefix is None:
                self._needed = 0
                break
            body, length = prefix
            end = body + length
            if length > self.max_frame:
                end = self._cut(data, at, body, length, frames)
                if end == at:
                    break
            elif end > size:
                self._needed = end - at
                break
            elif length:
                frames.append(data[body:end])
            else:
                self.count("empty_frames")
            at = end
        self._held += data[at:]
        return frames

    def _cut(self, data: bytes, at: int, body: int, length: int, frames: list[bytes]) -> int:
        """Apply the policy to the overlong frame at `at`.

        Returns the index at which to go on, or `at` if more bytes are needed.
        """
        if self.oversize == "truncate" and length <= self.longest_skipped:
            end = body + self.max_frame
            if end > len(data):
                self._needed = end - at
                return at
            frames.append(FlaggedFrame(data[body:end], "truncated"))
            self.count("truncated")
            self._skip_left = length - self.max_frame
            return self._skip(data, end)
        self.count("oversize_dropped")
        if self.oversize == "close" or length > self.longest_skipped:
            raise FramingError("oversize", frames, len(data) - at)
        self.count("discarded_bytes", body - at)
        self._skip_left = length
        return self._skip(data, body)

    def _skip(self, data: bytes, at: int) -> int:
        """Skip the part of the frame's rest that has arrived; returns the index behind it."""
        skipped = min(self._skip_left, len(data) - at)
        self._skip_left -= skipped
        if skipped:
            self.count("discarded_bytes", skipped)
        return at + skipped
