import re
from typing import Any

from streamd.core.contracts import Framer
from streamd.core.errors import FramingError
from streamd.framing.newline import Newline
from streamd.framing.octet_counting import OctetCounting

_COUNT = rb"([1-9][0-9]{0,8})(?:( [<{])| ?\Z)"  # group 2 is missing where the data ends before it is decided
_COUNT_HERE = re.compile(_COUNT)
_COUNT_AFTER_LINE = re.compile(rb"\n" + _COUNT)


class Auto(Framer):
    """Octet counting or lines, decided for each frame, as one listener for every syslog sender needs it.

    A frame is counted where one to nine digits (no leading 0) and a space are followed by `<` or `{`;
    everything else is a line, also a text that begins with a number. A count that octet counting would
    never skip over, since it is too large, is text at the start of a line. After a counted frame spaces
    are passed over (Cisco ASA). A beginning that is not decided yet is held: at most eleven bytes.

    Cost: for lines, one search more than `newline`.
    """

    def __init__(self, config: Any, max_frame: int, oversize: str) -> None:
        super().__init__(config, max_frame, oversize)
        self._lines = Newline(config, max_frame, oversize)
        self._counted = OctetCounting(config, max_frame, oversize)
        self._undecided = b""
        self._counted_left = 0
        self._after_counted = False

    @property
    def waiting_bytes(self) -> int:
        """Bytes held: at most `max_frame` and a prefix; none while the rest of a cut-off frame is skipped."""
        return len(self._undecided) + self._lines.waiting_bytes + self._counted.waiting_bytes

    def feed(self, data: bytes) -> list[bytes]:
        self._lines.counts = self._counted.counts = self.counts
        if self._undecided:
            data = self._undecided + data
            self._undecided = b""
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
                elif self._begins_counted(data, at):
                    if self._undecided:
                        break
                else:
                    end = self._end_of_lines(data, at)
                    part = data[at:end]
                    at = end
                    self._after_counted = False
                    frames += self._lines.feed(part)
        except FramingError as error:
            discarded = error.discarded_bytes + len(data) - at
            raise FramingError(error.reason, frames + error.frames, discarded) from None
        return frames

    def feed_eof(self) -> list[bytes]:
        """The rest of a line flagged `unterminated`; the rest of a counted frame is `incomplete`."""
        self._lines.counts = self._counted.counts = self.counts
        frames: list[bytes] = []
        try:
            frames += self._lines.feed(self._undecided)
        except FramingError as error:  # a `max_frame` shorter than a count: there is nothing left to close
            self.count("discarded_bytes", error.discarded_bytes)
        self._undecided = b""
        return frames + self._lines.feed_eof() + self._counted.feed_eof()

    def _begins_counted(self, data: bytes, at: int) -> bool:
        """Whether a counted frame, or what may become one, begins at `at`; note which of the two."""
        found = _COUNT_HERE.match(data, at) if self._lines.between_frames else None
        if found is None:
            return False
        if found[2] is None:
            self._undecided = data[at:]
            return True
        length = int(found[1])
        if length > self._counted.longest_skipped:
            return False
        self._counted_left = found.end(1) + 1 - at + length
        self._after_counted = True
        return True

    def _end_of_lines(self, data: bytes, at: int) -> int:
        """Where the lines that begin at `at` end: before a counted frame, or what may become one."""
        found = _COUNT_AFTER_LINE.search(data, at)
        return found.start() + 1 if found else len(data)
