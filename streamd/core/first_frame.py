"""The first frame of a stream, for codecs that find a header there."""

from collections.abc import Mapping

from streamd.core.framer_counts import LOST_FRAMES


class FirstFrame(bytes):
    """The first frame of a connection or file, if it is whole and no frame before it was lost.

    If the first frame of a stream was dropped, truncated or read by another codec, the stream has no
    `FirstFrame`, so no codec takes a later frame for the header.
    """


class FirstFrameAgain(FirstFrame):
    """The first frame of a file, repeated because reading resumes at a later position.

    A codec reads the header from it and ignores its other content, which was offered before.
    """


def mark_first(frames: list[bytes], counts: Mapping[str, int]) -> bool:
    """Replace the first of a stream's first frames by a `FirstFrame`, if it is whole.

    `counts` are those of the framer: after a lost frame nothing is marked. Returns whether the stream has
    begun, which is so after a frame or a lost frame.
    """
    lost = not LOST_FRAMES.keys().isdisjoint(counts)
    if frames and not lost and type(frames[0]) is bytes:
        frames[0] = FirstFrame(frames[0])
    return lost or bool(frames)
