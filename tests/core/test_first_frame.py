from streamd.core.first_frame import FirstFrame, mark_first
from streamd.core.frames import FlaggedFrame


def test_the_first_frame_of_a_stream_is_marked_and_the_stream_has_begun() -> None:
    frames = [b"a", b"b"]
    assert mark_first(frames, {"unterminated": 1})
    assert frames == [b"a", b"b"]
    assert [type(frame) for frame in frames] == [FirstFrame, bytes]


def test_without_a_frame_the_stream_has_not_begun() -> None:
    assert not mark_first([], {"empty_frames": 1})


def test_a_frame_behind_one_that_was_lost_or_that_was_cut_off_is_not_the_first() -> None:
    for counts in ({"oversize_dropped": 1}, {"incomplete": 1}):
        frames = [b"b"]
        assert mark_first(frames, counts)
        assert type(frames[0]) is bytes
        assert mark_first([], counts)
    flagged: list[bytes] = [FlaggedFrame(b"a", "truncated")]
    assert mark_first(flagged, {"truncated": 1})
    assert type(flagged[0]) is FlaggedFrame
