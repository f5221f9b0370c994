"""Where to begin in a file whose content is not wanted: behind it, but never in the middle of a frame."""

from collections.abc import Callable

from streamd.core.contracts import AnyFramer
from streamd.core.errors import FramingError
from streamd.core.framer_counts import LOST_FRAMES
from streamd.files.tail import READ_BYTES, Tail


def first_frame(tail: Tail, new_framer: Callable[[], AnyFramer]) -> bytes | None:
    """The frame at the beginning of the file; None where it is not whole, or was lost. Raises `OSError`."""
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
    """Move `tail` to where its last frame ends; one that is not finished is read whole later.

    Where a byte ends each frame, that is looked for from the end; else the whole file is cut into frames
    (about 1 s a gigabyte).
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
            return tail.status.st_size  # as if it had been read
        if framer.waiting_bytes or framer.between_frames:
            last = offset - framer.waiting_bytes
    return last
