from streamd.core.ack import Ack, Status
from streamd.core.frames import FRAME_OVERHEAD_BYTES, FlaggedFrame, Frames

PEERS = ["10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3"]
TIMES = [1.0, 2.0, 3.0]


def test_frames_take_their_bytes_and_the_overhead_of_each() -> None:
    assert Frames.of([b"abc", b"", b"d"], "x", 1.0).size_bytes == 4 + 3 * FRAME_OVERHEAD_BYTES
    assert Frames.of([b"abc"], "x", 1.0, size_bytes=0).size_bytes == 0


def test_a_flagged_frame_is_its_bytes_with_a_flag() -> None:
    frame = FlaggedFrame(b"abc", "truncated")
    assert (frame, frame.flag) == (b"abc", "truncated")


def test_each_frame_has_its_own_peer_and_time_or_that_of_all() -> None:
    each = Frames.of([b"a", b"b", b"c"], PEERS, TIMES)
    assert [(each.peer(n), each.time(n)) for n in range(3)] == list(zip(PEERS, TIMES, strict=True))
    one = Frames.of([b"a", b"b"], "x", 1.0)
    assert [(one.peer(n), one.time(n)) for n in range(2)] == [("x", 1.0)] * 2


def test_both_parts_of_cut_frames_are_as_the_whole_was() -> None:
    told: list[Status] = []
    whole = Frames.of([b"a", b"b", b"c"], PEERS, TIMES, ack=Ack(told.append), flagged=True, size_bytes=100)
    head, tail = whole.split(1)
    assert (head.payloads, tail.payloads) == ([b"a"], [b"b", b"c"])
    assert (head.peers.values, tail.peers.values) == (PEERS[:1], PEERS[1:])
    assert (head.received_at.values, tail.received_at.values) == (TIMES[:1], TIMES[1:])
    assert (head.size_bytes, tail.size_bytes) == (33, 67)
    assert (head.flagged, tail.flagged) == (True, True)
    assert [sum(n for n, _ in part.acks.runs) for part in (head, tail) if part.acks] == [1, 2]
    for part in (head, tail):
        assert told == []
        part.settle(Status.DELIVERED)
    assert told == [Status.DELIVERED]


def test_cut_frames_of_one_peer_and_time_are_of_these_in_both_parts() -> None:
    for part in Frames.of([b"a", b"b"], "x", 1.0).split(1):
        assert (part.peers.values, part.peers.same, part.received_at.same) == (None, "x", 1.0)
        assert (part.flagged, part.acks) == (False, None)


def test_frames_that_are_sorted_out_are_as_they_were_in_the_whole() -> None:
    told: list[Status] = []
    whole = Frames.of([b"a", b"b", b"c"], PEERS, TIMES, ack=Ack(told.append), flagged=True)
    odd, even = whole.sorted_out([[0, 2], [1]])
    assert (odd.payloads, even.payloads) == ([b"a", b"c"], [b"b"])
    assert (odd.peers.values, even.peers.values) == ([PEERS[0], PEERS[2]], [PEERS[1]])
    assert (odd.received_at.values, even.received_at.values) == ([TIMES[0], TIMES[2]], [TIMES[1]])
    assert (odd.size_bytes, even.size_bytes) == (2 + 2 * FRAME_OVERHEAD_BYTES, 1 + FRAME_OVERHEAD_BYTES)
    assert (odd.flagged, even.flagged) == (True, True)
    odd.settle(Status.REJECTED)
    assert told == []
    even.settle(Status.DELIVERED)
    assert told == [Status.REJECTED]


def test_merged_frames_have_each_their_own_peer_and_time_in_order() -> None:
    told: list[str] = []
    parts = [
        Frames.of([b"a", b"b"], "x", 1.0, ack=Ack(lambda _: told.append("first"))),
        Frames.of([b"c"], ["y"], [2.0], flagged=True),
        Frames.of([b"d", b"e"], ["y", "z"], 3.0, ack=Ack(lambda _: told.append("third"))),
        Frames.of([b"f"], "z", [4.0], size_bytes=7),
    ]
    merged = Frames.merge(parts)
    assert merged.payloads == [b"a", b"b", b"c", b"d", b"e", b"f"]
    assert merged.peers.values == ["x", "x", "y", "y", "z", "z"]
    assert merged.received_at.values == [1.0, 1.0, 2.0, 3.0, 3.0, 4.0]
    assert merged.size_bytes == sum(part.size_bytes for part in parts)
    assert merged.flagged
    assert merged.acks is not None
    assert [count for count, _ in merged.acks.runs] == [2, 1, 2, 1]
    merged.settle(Status.DELIVERED)
    assert told == ["first", "third"]
    assert not Frames.merge([Frames.of([b"a"], "x", 1.0), Frames.of([b"b"], "x", 1.0)]).flagged


def test_one_part_is_merged_already() -> None:
    part = Frames.of([b"a"], "x", 1.0)
    assert Frames.merge([part]) is part
