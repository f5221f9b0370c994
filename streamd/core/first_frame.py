"""The first frame of a stream, for codecs that read it in a way of its own."""

from collections.abc import Mapping

from streamd.core.framer_counts import LOST_FRAMES


class FirstFrame(bytes):
    """The first frame of a connection or a file, where nothing was lost before it and it is whole.

    A stream whose first frame was dropped, cut off or read by another codec has none, so nobody takes a later
    frame for it.
    """


class FirstFrameAgain(FirstFrame):
    """The first frame of a file once more, because the file is read on from a later place.

    It says how to read what follows; what else it holds was handed on before.
    """


def mark_first(frames: list[bytes], counts: Mapping[str, int]) -> bool:
    """Mark the first of a stream's first frames, unless a framer has lost one by its `counts` or cut it off.

    Returns whether the stream has begun: a frame came, or was lost.
    """
    lost = not LOST_FRAMES.keys().isdisjoint(counts)
    if frames and not lost and type(frames[0]) is bytes:
        frames[0] = FirstFrame(frames[0])
    return lost or bool(frames)
