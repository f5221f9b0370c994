"""The first frame of a file, and the end of its last one."""

from collections.abc import Callable

from streamd.core.contracts import AnyFramer
from streamd.core.errors import FramingError
from streamd.core.framer_counts import LOST_FRAMES
from streamd.files.tail import READ_BYTES, Tail


def first_frame(tail: Tail, new_framer: Callable[[], AnyFramer]) -> bytes | None:
    """The first frame of the file; None if it is incomplete, flagged or lost. Raises `OSError`."""
    framer = new_framer()
    offset = 0
    while offset < tail.offset and (data := tail.read_at(offset, READ_BYTES)):
        try:
            frames = framer.feed(data)
        except FramingError:
            return None
        if not LOST_FRAMES.keys().isdisjoint(framer.counts):
            return None
        if frames:
            return frames[0] if type(frames[0]) is bytes else None
        offset += len(data)
    return None


def go_to_end(tail: Tail, new_framer: Callable[[], AnyFramer]) -> None:
    """Move `tail` behind the last complete frame. An unfinished frame is read later, from its beginning.

    If the framing has a delimiter, the file is searched backwards for it. Otherwise the whole file is cut
    into frames, which takes about 1 s a gigabyte. Raises `OSError`.
    """
    delimiter = new_framer().delimiter
    tail.seek(_after_last(tail, delimiter) if delimiter else _cut(tail, new_framer))


def _after_last(tail: Tail, delimiter: bytes) -> int:
    end = tail.status.st_size
    while end > 0:
        start = max(0, end - READ_BYTES)
        found = tail.read_at(start, end - start).rfind(delimiter)
        if found >= 0:
            return start + found + len(delimiter)
        end = start
    return 0


def _cut(tail: Tail, new_framer: Callable[[], AnyFramer]) -> int:
    framer = new_framer()
    offset = last = 0
    while data := tail.read_at(offset, READ_BYTES):
        offset += len(data)
        try:
            framer.feed(data)
        except FramingError:
            return tail.status.st_size  # as in reading, the rest is skipped
        if framer.waiting_bytes or framer.between_frames:
            last = offset - framer.waiting_bytes
    return last
