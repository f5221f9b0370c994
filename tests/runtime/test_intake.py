import re
from pathlib import Path

from streamd.core.ack import Ack, Status
from streamd.core.books import FrameBook
from streamd.core.frames import Frames
from streamd.core.peer import Peer
from streamd.core.settings import BufferSettings, WhenFull
from streamd.runtime.intake import MAX_BATCH_BYTES, Intake


def settings(max_records: int = 10, max_bytes: int = 2**30) -> BufferSettings:
    return BufferSettings.model_validate({"max_records": max_records, "max_bytes": f"{max_bytes}B"})


def intake(when_full: WhenFull = "block", **bounds: int) -> Intake:
    return Intake(settings(**bounds), when_full, FrameBook("lab"))


def frames(count: int, ack: Ack | None = None, size_bytes: int = 1) -> Frames:
    return Frames.of([b"x" * size_bytes] * count, "10.0.0.1:5", 1.0, ack=ack)


def test_every_frame_that_is_offered_is_received_whatever_becomes_of_it() -> None:
    lab = intake("drop_newest", max_records=4)
    told: list[Status] = []
    assert lab.offer(frames(3))
    assert lab.offer(frames(5, Ack(told.append)))
    assert lab.offer(frames(2, Ack(told.append)))
    assert (lab.book.received, lab.book.dropped, lab.book.waiting) == (10, {"buffer_full": 6}, 4)
    assert told == [Status.DROPPED], "the other one still has a frame that waits"
    assert lab.buffer.records == 4


def test_frames_that_the_source_gives_up_are_received_and_dropped_by_their_reason() -> None:
    lab = intake()
    lab.offer(frames(1))
    lab.refuse(3, "rate_limited")
    lab.refuse(2, "oversize")
    assert (lab.book.received, lab.book.waiting, lab.buffer.records) == (6, 1, 1)
    assert lab.book.dropped == {"rate_limited": 3, "oversize": 2}


def test_a_full_intake_says_stop_and_calls_once_there_is_room() -> None:
    lab = intake(max_records=4)
    calls: list[int] = []
    lab.on_resume(lambda: calls.append(lab.buffer.records))
    assert lab.offer(frames(3))
    assert not lab.offer(frames(1))
    assert lab.book.received == 4
    assert calls == []
    lab.buffer.take(2)
    assert calls == [2]


def test_what_is_abandoned_is_counted_by_its_reason_and_told() -> None:
    lab = intake()
    told: list[Status] = []
    lab.offer(frames(3, Ack(told.append)))
    lab.offer(frames(2))
    assert lab.abandon() == 5
    lab.offer(frames(1))
    assert lab.abandon("removed") == 1
    assert lab.book.dropped == {"shutdown": 5, "removed": 1}
    assert told == [Status.DROPPED]
    assert lab.book.waiting == lab.buffer.records == lab.abandon() == 0


def test_a_connection_whose_frames_are_taken_or_dropped_is_over_once_it_has_ended() -> None:
    lab = intake("drop_oldest", max_records=2)
    lab.connections.count(on=True)
    peer = Peer("10.0.0.1:1")
    lab.offer(Frames.of([b"a", b"b", b"c"], peer, 1.0))
    assert lab.book.dropped == {"buffer_full": 1}
    lab.ended(peer)
    assert not lab.connections.over
    for part in lab.buffer.take(10):
        lab.connections.went(part)
    assert [each is peer for each in lab.connections.over] == [True]


def test_other_bounds_and_policy_hold_for_what_comes() -> None:
    lab = intake(max_records=4)
    lab.offer(frames(3))
    lab.resize(settings(max_records=5), "drop_newest")
    assert lab.offer(frames(4))
    assert (lab.buffer.records, lab.book.dropped) == (5, {"buffer_full": 2})
    lab.resize(settings(max_records=50, max_bytes=5 * frames(1).size_bytes), "drop_newest")
    lab.offer(frames(4))
    assert (lab.buffer.records, lab.book.dropped) == (5, {"buffer_full": 6})


def test_one_take_is_no_more_than_is_decoded_in_one_go() -> None:
    lab = intake(max_records=10_000)
    for _ in range(100):
        lab.offer(frames(10, size_bytes=1000))
    taken = lab.buffer.take(10_000)
    assert MAX_BATCH_BYTES / 2 < sum(item.size_bytes for item in taken) <= MAX_BATCH_BYTES


def test_no_source_writes_into_a_sum_of_the_books_itself() -> None:
    streamd = Path(__file__).parents[2] / "streamd"
    files = [file for room in ("sources", "net", "files") for file in (streamd / room).glob("*.py")]
    writing = [
        f"{file.name}: {line.strip()}"
        for file in files
        for line in file.read_text("utf-8").splitlines()
        if re.search(r"\bbook\.(received|decoded|rejected|dropped)\b", line)
    ]
    assert len(files) > 20
    assert writing == []


def test_the_least_wait_of_the_batches_is_reported_once() -> None:
    lab = intake()
    assert lab.take_least_wait_s() is None
    lab.offer(frames(9))
    for wait_s in (0.5, 0.25, 2.0):
        lab.taken(1, wait_s, 1.0)
    assert lab.take_least_wait_s() == 0.25
    assert lab.take_least_wait_s() is None
    lab.taken(1, 3.0, 2.0)
    assert lab.take_least_wait_s() == 3.0
