"""Lines that end with LF, each kept whole for a framing that may join some of them."""

from streamd.core.delimited import Delimited
from streamd.core.frames import FlaggedFrame


class PhysicalLines(Delimited):
    """Cuts lines as `newline` does, but keeps empty lines and a CR at the end of a line.

    A line that is over `max_frame` and dropped leaves a frame with the flag `dropped` and no bytes.
    """

    delimiter = b"\n"
    optional = b"\r"

    @property
    def rest_bytes(self) -> int:
        """Bytes of the unfinished line, without a CR that may belong to its end."""
        return len(self._held) - self._held.endswith(b"\r")

    def _clean(self, frames: list[bytes], data: bytes) -> list[bytes]:
        del data
        return frames

    def _cut(self, data: bytes, start: int, frames: list[bytes]) -> int:
        end = super()._cut(data, start, frames)
        if self.oversize == "drop":
            frames.append(FlaggedFrame(b"", "dropped"))
        return end
