from streamd.core.contracts import Framer
from streamd.core.errors import FramingError
from streamd.core.frames import FlaggedFrame
from streamd.core.settings import Settings
from streamd.line_protocol.open_string import ends_in_string
from streamd.line_protocol.physical_lines import PhysicalLines


class Influx(Framer[Settings]):
    """Makes a frame of each line of InfluxDB's line protocol. A string in quotes may hold line ends.

    A line ends with LF or CRLF outside of a string. Empty lines are skipped. A string that does not end
    within `max_frame`, or before the sender closes, is an error of the sender: then each of its lines is a
    frame by itself, so that a missing quote spoils one line and not those behind it. They wait until the
    next quote, though.

    Cost: as `newline`, and about 1 µs more for a line with a quote.
    """

    def __init__(self, config: Settings, max_frame: int, oversize: str) -> None:
        super().__init__(config, max_frame, oversize)
        self._lines = PhysicalLines(config, max_frame, oversize)
        self._open = bytearray()
        """Lines of a frame whose string goes on, each with its LF; in one piece, as lines may be short."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes held: at most `max_frame` + 1."""
        return len(self._open) + self._lines.waiting_bytes

    @property
    def between_frames(self) -> bool:
        """Whether the next byte begins a frame: none is unfinished or being skipped."""
        return not self._open and self._lines.between_frames

    def feed(self, data: bytes) -> list[bytes]:
        self._lines.counts = self.counts
        try:
            frames = self._joined(self._lines.feed(data))
        except FramingError as error:
            frames = self._joined(error.frames) + self._given_up()
            raise FramingError(error.reason, frames, error.discarded_bytes) from None
        if len(self._open) + self._lines.rest_bytes > self.max_frame:
            frames += self._given_up()
        return frames

    def feed_eof(self) -> list[bytes]:
        """The rest as a frame flagged `unterminated`; the lines of a string without an end one by one."""
        self._lines.counts = self.counts
        rest = self._lines.feed_eof()
        if rest and self._open and not ends_in_string(rest[0], begins_in_string=True):
            return [FlaggedFrame(self._whole(rest[0]), "unterminated")]
        return self._given_up() + rest

    def _joined(self, lines: list[bytes]) -> list[bytes]:
        """The frames that these lines complete."""
        if not self._open and not any(b'"' in line or type(line) is not bytes for line in lines):
            return [frame for line in lines if (frame := line.removesuffix(b"\r"))]
        frames: list[bytes] = []
        for line in lines:
            if isinstance(line, FlaggedFrame):
                frames += self._given_up()
                frames += [line] if line else []
                continue
            if len(self._open) + len(line.removesuffix(b"\r")) > self.max_frame:
                frames += self._given_up()
            if ends_in_string(line, begins_in_string=bool(self._open)):
                self._open += line
                self._open += b"\n"
            elif whole := self._whole(line).removesuffix(b"\r"):
                frames.append(whole)
        return frames

    def _whole(self, line: bytes) -> bytes:
        """The open lines with their last one."""
        whole = bytes(self._open) + line if self._open else line
        self._open.clear()
        return whole

    def _given_up(self) -> list[bytes]:
        """The open lines as frames, because their string has no end."""
        lines = bytes(self._open).split(b"\n")
        self._open.clear()
        return [frame for line in lines if (frame := line.removesuffix(b"\r"))]
