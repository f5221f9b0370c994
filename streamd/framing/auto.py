import re

from streamd.core.contracts import Framer
from streamd.core.errors import FramingError
from streamd.core.settings import Settings
from streamd.framing.newline import Newline
from streamd.framing.octet_counting import OctetCounting

_COUNT = rb"([1-9][0-9]{0,8})(?:( [<{])| ?\Z)"  # without group 2, more data has to decide
_COUNT_HERE = re.compile(_COUNT)
_COUNT_AFTER_LINE = re.compile(rb"\n" + _COUNT)  # a search for one byte takes a fifteenth of one for a set


class Auto(Framer[Settings]):
    """Cuts octet-counted frames, lines and texts that end with NUL, and recognises the kind of each frame.

    One listener can therefore serve every syslog sender, including Python's `SysLogHandler`, which ends a
    message with NUL. A line ends with LF, CRLF or NUL, whichever is first. So a NUL inside a line makes two
    frames of the line, and a message of several lines that ends with NUL becomes one frame per line. The
    framing `nul` keeps such messages whole. In a counted frame, line ends and NUL are content.

    A frame is counted if it begins with one to nine digits (no leading 0), a space, and `<` or `{`.
    Everything else is a line, including a text that begins with a number or with a count that is too large
    for `octet_counting`. Spaces after a counted frame are skipped (Cisco ASA). While the kind of a frame is
    undecided, at most eleven bytes are held.

    Cost: at most twice the time of `newline` for lines, and of `octet_counting` for counted frames.
    """

    def __init__(self, config: Settings, max_frame: int, oversize: str) -> None:
        super().__init__(config, max_frame, oversize)
        self._lines = Newline(config, max_frame, oversize)
        self._counted = OctetCounting(config, max_frame, oversize)
        self._undecided = b""
        self._counted_left = 0
        self._after_counted = False

    @property
    def waiting_bytes(self) -> int:
        """Bytes held: at most `max_frame` and a prefix; 0 while the rest of a truncated frame is skipped."""
        return len(self._undecided) + self._lines.waiting_bytes + self._counted.waiting_bytes

    @property
    def between_frames(self) -> bool:
        """Whether the next byte begins a frame: no line or counted frame is unfinished or being skipped."""
        return not self._undecided and not self._counted_left and self._lines.between_frames

    def feed(self, data: bytes) -> list[bytes]:
        self._lines.counts = self._counted.counts = self.counts
        if self._undecided:
            data = self._undecided + data
            self._undecided = b""
        lines = data.replace(b"\0", b"\n")
        frames: list[bytes] = []
        at = 0
        try:
            while at < len(data):
                if self._counted_left:
                    part = data[at : at + self._counted_left]
                    self._counted_left -= len(part)
                    at += len(part)
                    frames += self._counted.feed(part)
                elif self._after_counted and data.startswith(b" ", at):
                    at += 1
                elif found := self._count_at(data, at):
                    if found[2] is None:
                        self._undecided = data[at:]
                        break
                    at = self._take_counted(data, at, found, frames)
                else:
                    found = _COUNT_AFTER_LINE.search(lines, at)
                    end = found.start() + 1 if found else len(lines)
                    part = lines[at:end]
                    at = end
                    self._after_counted = False
                    frames += self._lines.feed(part)
        except FramingError as error:
            discarded = error.discarded_bytes + len(data) - at
            raise FramingError(error.reason, frames + error.frames, discarded) from None
        return frames

    def feed_eof(self) -> list[bytes]:
        """The rest of a line, flagged `unterminated`; the rest of a counted frame counts as `incomplete`."""
        self._lines.counts = self._counted.counts = self.counts
        frames: list[bytes] = []
        try:
            frames += self._lines.feed(self._undecided)
        except FramingError as error:  # `max_frame` is shorter than a count; the connection is closed already
            self.count("discarded_bytes", error.discarded_bytes)
        self._undecided = b""
        return frames + self._lines.feed_eof() + self._counted.feed_eof()

    def _count_at(self, data: bytes, at: int) -> re.Match[bytes] | None:
        """The match of a count, or of the beginning of one, at `at`."""
        found = _COUNT_HERE.match(data, at) if self._lines.between_frames else None
        if found is not None and int(found[1]) > self._counted.longest_skipped:
            return None
        return found

    def _take_counted(self, data: bytes, at: int, count: re.Match[bytes], frames: list[bytes]) -> int:
        """Take the frame at `at` if it is whole, else leave it to octet counting; returns the next place."""
        self._after_counted = True
        body = count.end(1) + 1
        length = int(count[1])
        if length <= self.max_frame and body + length <= len(data):
            frames.append(data[body : body + length])
            return body + length
        self._counted_left = body + length - at
        return at
