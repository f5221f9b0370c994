import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.ack import Ack, Status
from streamd.core.acks import Acks
from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.peer import Peer
from streamd.core.settings import WhenFull
from streamd.runtime import fair_buffer
from streamd.runtime.fair_buffer import FairBuffer

Frame = tuple[str, bytes, float]
"""Peer, payload, time."""


def frames_of(items: list[Frames]) -> list[Frame]:
    return [(item.peer(n), item.payloads[n], item.time(n)) for item in items for n in range(len(item))]


def buffer_of(
    when_full: WhenFull, max_records: int = 10, max_bytes: int = 10**9
) -> tuple[FairBuffer, list[Frame]]:
    dropped: list[Frame] = []
    return FairBuffer(
        max_records, max_bytes, when_full, lambda item: dropped.extend(frames_of([item]))
    ), dropped


def numbered(host: str, first: int, count: int, fill: int = 0) -> Frames:
    payloads = [b"%06d" % n + bytes(fill) for n in range(first, first + count)]
    return Frames.of(payloads, f"{host}:5", 1.0)


def mixed(*senders: str) -> Frames:
    """One frame of each, numbered by place, as one read brings them."""
    return Frames.of([b"%d" % n for n in range(len(senders))], [f"{host}:5" for host in senders], 1.0)


def spoofed(rng: random.Random, count: int) -> Frames:
    hosts = rng.choices(range(2**32), k=count)
    return Frames.of(
        [b"x" * 20] * count, [f"{h >> 24}.{h >> 16 & 255}.{h >> 8 & 255}.{h & 255}:9" for h in hosts], 1.0
    )


def by_sender(frames: list[Frame]) -> Counter[str]:
    return Counter(Peer(peer).host for peer, _, _ in frames)


def take_all(buffer: FairBuffer) -> list[Frame]:
    taken: list[Frame] = []
    while buffer.records:
        taken += frames_of(buffer.take(10**9))
    return taken


@pytest.mark.parametrize(
    ("peer", "sender"),
    [
        ("127.0.0.1:9", "127.0.0.1"),
        ("[fe80::1%eth0]:514", "[fe80::1%eth0]"),
        ("127.0.0.1:9 spiffe://lab/sensor:1", "127.0.0.1"),
        ("/run/log:1.sock", ""),
        ("@abstract:1", ""),
        ("pid=123,uid=1000,gid=1000", ""),
        ("", ""),
    ],
)
def test_a_sender_is_an_address_without_its_port_and_a_unix_source_is_one(peer: str, sender: str) -> None:
    assert Peer(peer).host == sender


def test_a_small_backlog_is_first_in_first_out_across_senders() -> None:
    buffer, _ = buffer_of("drop_oldest", max_records=1600)
    reads = [mixed("a", "b", "a", "c"), numbered("b", 0, 50), numbered("a", 0, 40)]
    for read in reads:
        buffer.put(read)
    assert buffer.take(1000) == reads


@pytest.mark.parametrize("when_full", ["block", "drop_oldest", "drop_newest"])
def test_one_sender_alone_is_served_in_the_same_parts_as_by_a_plain_buffer(when_full: WhenFull) -> None:
    buffer, _ = buffer_of(when_full, max_records=6000)
    buffer.put(numbered("a", 0, 585))
    buffer.put(numbered("a", 585, 7))
    assert [len(item) for _ in range(3) for item in buffer.take(512)] == [293, 292, 7]
    assert buffer.records == buffer.size_bytes == 0


def test_a_flooding_sender_loses_its_own_oldest_and_nobody_elses() -> None:
    buffer, dropped = buffer_of("drop_oldest", max_records=100)
    buffer.put(numbered("quiet", 0, 40))
    for first in range(0, 1000, 50):
        buffer.put(numbered("flood", first, 50))
        assert buffer.records <= 100
    taken = take_all(buffer)
    assert by_sender(dropped) == {"flood": 940}
    assert [p for peer, p, _ in taken if peer == "quiet:5"] == [b"%06d" % n for n in range(40)]
    assert [p for peer, p, _ in taken if peer == "flood:5"] == [b"%06d" % n for n in range(940, 1000)]


def test_a_newcomer_pushes_out_the_newest_of_the_longest_backlog() -> None:
    buffer, dropped = buffer_of("drop_newest", max_records=100)
    buffer.put(numbered("flood", 0, 200))
    buffer.put(numbered("quiet", 0, 30))
    taken = take_all(buffer)
    assert by_sender(taken) == {"flood": 70, "quiet": 30}
    assert [p for peer, p, _ in taken if peer == "flood:5"] == [b"%06d" % n for n in range(70)]
    assert by_sender(dropped) == {"flood": 130}


def test_where_all_flood_each_keeps_about_its_share() -> None:
    buffer, _ = buffer_of("drop_oldest", max_records=1000)
    for first in range(0, 5000, 50):
        for host in "abcdefghij":
            buffer.put(numbered(host, first, 50))
    kept = by_sender(take_all(buffer))
    assert sum(kept.values()) == 1000
    assert all(80 <= n <= 120 for n in kept.values()), kept


def test_of_two_alike_neither_pays_for_all_that_is_too_much() -> None:
    buffer, dropped = buffer_of("drop_oldest", max_records=200)
    buffer.put(numbered("a", 0, 100))
    buffer.put(numbered("b", 0, 99))
    buffer.put(numbered("c", 0, 61))
    lost = by_sender(dropped)
    assert abs(lost["a"] - lost["b"]) <= 100 // fair_buffer.SHED_FRACTION
    assert lost.total() == 60
    assert not lost["c"]


def test_a_sender_that_was_served_to_the_end_is_not_looked_for_at_the_next_drop() -> None:
    buffer, dropped = buffer_of("drop_oldest", max_records=100)
    buffer.put(numbered("gone", 0, 150))
    buffer.put(numbered("quiet", 0, 1))
    buffer.put(numbered("next", 0, 20))
    dropped.clear()
    while any(key == "gone" for key in buffer._backlogs):
        buffer.take(7)
    for host in "uvwxyz":
        buffer.put(numbered(host, 0, 20))
    assert by_sender(dropped).keys() <= {"next", *"uvwxyz"}
    assert buffer.records == 100


def test_a_sender_in_a_shared_queue_keeps_its_order_when_a_queue_of_its_own_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fair_buffer, "OWN_QUEUES", 2)
    monkeypatch.setattr(fair_buffer, "SHARED_QUEUES", 1)
    monkeypatch.setattr(fair_buffer, "QUANTUM_BYTES", 50)
    buffer, _ = buffer_of("block", max_records=10)
    buffer.put(mixed("a", "b", "late", "late"))
    taken = frames_of(buffer.take(2))
    assert by_sender(taken) == {"a": 1, "b": 1}
    buffer.put(mixed("a", "a", "a", "a", "late"))
    assert [p for peer, p, _ in take_all(buffer) if peer == "late:5"] == [b"2", b"3", b"4"]


@pytest.mark.parametrize(("many", "large", "loser"), [(900, 15, "many"), (500, 245, "large")])
def test_the_longest_backlog_is_the_one_that_takes_most_of_the_bounds_in_records_or_bytes(
    many: int, large: int, loser: str
) -> None:
    buffer, dropped = buffer_of("drop_oldest", max_records=1000, max_bytes=1_000_000)
    buffer.put(numbered("quiet", 0, 60, fill=50))
    buffer.put(numbered("many", 0, many))
    buffer.put(numbered("large", 0, large, fill=4000))
    buffer.put(numbered("quiet", 60, 31, fill=50))
    assert by_sender(dropped).keys() == {loser}
    assert buffer.records <= 1000
    assert buffer.size_bytes <= 1_000_000


def test_senders_are_served_alike_in_bytes_whatever_the_size_of_their_frames() -> None:
    buffer, _ = buffer_of("block", max_records=100_000)
    buffer.put(numbered("small", 0, 20_000))
    buffer.put(numbered("large", 0, 2000, fill=1000))
    buffer.put(numbered("huge", 0, 40, fill=60_000))
    served_bytes: Counter[str] = Counter()
    while served_bytes["small"] < 500_000:
        for item in buffer.take(512):
            served_bytes[item.peer(0)[:-2]] += item.size_bytes
    for sender in ("small", "large", "huge"):
        assert abs(served_bytes[sender] - served_bytes["small"]) <= 65536 + fair_buffer.QUANTUM_BYTES


def test_a_single_frame_waits_for_one_turn_of_each_not_for_the_backlog_of_all() -> None:
    buffer, _ = buffer_of("block", max_records=100_000)
    for host in "abcdefghi":
        buffer.put(numbered(host, 0, 10_000))
    buffer.put(numbered("quiet", 0, 1))
    order = [item for _ in range(7) for item in buffer.take(512)]
    turn = [item.peer(0) for item in order].index(Peer("quiet:5"))
    before = sum(item.size_bytes for item in order[:turn])
    assert before <= 9 * fair_buffer.QUANTUM_BYTES


def test_parts_of_one_read_keep_their_peers_times_and_flags() -> None:
    buffer, _ = buffer_of("block")
    first = mixed("a", "b", "a", "c")
    second = Frames.of([FlaggedFrame(b"4", "truncated"), b"5"], ["b:6", "a:7"], [2.0, 3.0], flagged=True)
    buffer.put(first)
    buffer.put(second)
    taken = buffer.take(10)
    assert buffer.records == 0
    assert sorted(frames_of(taken), key=lambda frame: frame[1]) == frames_of([first, second])
    assert {item.flagged for item in taken if b"4" in item.payloads} == {True}
    assert first.payloads == [b"0", b"1", b"2", b"3"]
    assert len(second) == 2


def test_what_was_taken_is_not_added_to() -> None:
    buffer, _ = buffer_of("block", max_records=10)
    buffer.put(mixed("a", "b", "a"))
    taken = buffer.take(1)
    buffer.put(mixed("a", "b", "a"))
    assert frames_of(taken) == [("a:5", b"0", 1.0)]
    assert len(take_all(buffer)) == 5


@pytest.mark.parametrize("when_full", ["drop_oldest", "drop_newest"])
def test_an_ack_settles_once_all_its_parts_are_taken_or_dropped(when_full: WhenFull) -> None:
    told: list[Status] = []

    def drop(item: Frames) -> None:
        item.settle(Status.DROPPED)

    buffer = FairBuffer(6, 10**9, when_full, drop)
    read = mixed("a", "b", "a", "c", "a", "b", "a", "a")
    read.acks = Acks.same(Ack(told.append), len(read))
    buffer.put(read)
    for item in buffer.take(2) + buffer.take(10):
        assert told == []
        item.settle(Status.DELIVERED)
    assert told == [Status.DROPPED]


def test_what_is_left_at_a_shutdown_is_all_there_and_the_buffer_is_as_new() -> None:
    buffer, _ = buffer_of("drop_oldest", max_records=50)
    buffer.put(mixed("a", "b", "a", "c", "b"))
    assert sorted(frames_of(buffer.drain()), key=lambda frame: frame[1]) == frames_of(
        [mixed("a", "b", "a", "c", "b")]
    )
    assert buffer.records == buffer.size_bytes == 0
    buffer.put(numbered("d", 0, 60))
    assert by_sender(take_all(buffer)) == {"d": 50}


def test_two_hundred_thousand_spoofed_senders_find_a_bounded_number_of_queues() -> None:
    rng = random.Random(3)  # noqa: S311 - no secret
    dropped: list[int] = []
    buffer = FairBuffer(20_000, 2**30, "drop_oldest", lambda item: dropped.append(len(item)))
    most_queues = most_ranked = most_items = taken = 0
    for n in range(200_000 // 5000):
        buffer.put(spoofed(rng, 5000))
        most_queues = max(most_queues, len(buffer._backlogs))
        most_ranked = max(most_ranked, len(buffer._ranking))
        most_items = max(most_items, sum(len(each.items) for each in buffer._backlogs.values()))
        if n % 4 == 0:
            taken += sum(map(len, buffer.take(4000)))
    bound = fair_buffer.OWN_QUEUES + fair_buffer.SHARED_QUEUES
    assert fair_buffer.OWN_QUEUES < most_queues <= bound
    assert most_ranked <= 4 * bound + 64 + 1
    assert most_items <= 3 * bound
    assert taken + sum(dropped) + buffer.records == 200_000
    while buffer.records:
        buffer.take(512)
    assert (len(buffer._backlogs), buffer._own_queues, buffer._ranking) == (0, 0, [])


SENDERS = [f"10.0.0.{n}:{port}" for n in range(6) for port in (1, 2)]
READ = st.lists(st.tuples(st.sampled_from(SENDERS), st.integers(0, 40)), max_size=30)
READ_OF_ONE = st.tuples(st.sampled_from(SENDERS), st.integers(0, 60))


@given(
    st.sampled_from(["block", "drop_newest", "drop_oldest"]),
    st.integers(1, 60),
    st.integers(100, 6000),
    st.sampled_from([(4096, 1024), (2, 2), (0, 1)]),
    st.sampled_from([16, 200, 16384]),
    st.lists(st.one_of(st.integers(1, 30), READ, READ_OF_ONE), max_size=60),
)
def test_every_frame_is_taken_or_dropped_once_in_its_senders_order_within_the_bounds(
    when_full: WhenFull,
    max_records: int,
    max_bytes: int,
    queues: tuple[int, int],
    quantum: int,
    moves: list[Any],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fair_buffer, "OWN_QUEUES", queues[0])
        patch.setattr(fair_buffer, "SHARED_QUEUES", queues[1])
        patch.setattr(fair_buffer, "QUANTUM_BYTES", quantum)
        patch.setattr(fair_buffer, "GROWN_RECORDS", 8)
        buffer, dropped = buffer_of(when_full, max_records, max_bytes)
        offered: list[Frame] = []
        taken: list[Frame] = []

        def one(peer: str, size: int) -> None:
            n = len(offered)
            offered.append((peer, b"%06d" % n + bytes(size), float(n)))

        for move in moves:
            if isinstance(move, int):
                items = buffer.take(move)
                assert sum(map(len, items)) <= move
                assert items or not buffer.records
                taken += frames_of(items)
                continue
            first = len(offered)
            each = [(move[0], n) for n in range(move[1])] if isinstance(move, tuple) else move
            for peer, size in each:
                one(peer, size)
            peers = move[0] if isinstance(move, tuple) else [peer for peer, _ in each]
            new = offered[first:]
            buffer.put(Frames.of([frame[1] for frame in new], peers, [frame[2] for frame in new]))
            if when_full != "block":
                assert buffer.records <= max_records
                assert buffer.size_bytes <= max_bytes
            assert len(taken) + len(dropped) + buffer.records == len(offered)
            waiting = [*buffer._items, *(item for each in buffer._backlogs.values() for item in each.items)]
            assert sum(map(len, waiting)) == buffer.records
            assert sum(item.size_bytes for item in waiting) == buffer.size_bytes
            assert len(buffer._backlogs) <= sum(queues)
        taken += take_all(buffer)
    assert sorted(taken + dropped) == sorted(offered)
    assert buffer.size_bytes == 0
    assert when_full != "block" or not dropped
    order: defaultdict[str, list[bytes]] = defaultdict(list)
    for peer, payload, _ in taken:
        order[Peer(peer).host].append(payload)
    assert all(payloads == sorted(payloads) for payloads in order.values())


@given(st.lists(READ, min_size=1, max_size=30), st.integers(16, 100))
def test_only_a_sender_over_its_share_loses_anything(reads: list[Any], max_records: int) -> None:
    """The model: one queue a sender, and nobody takes. Shares are judged before the bytes count."""
    buffer, dropped = buffer_of("drop_oldest", max_records, 10**12)
    offered: Counter[str] = Counter()
    for read in reads:
        peers = [peer for peer, _ in read]
        offered.update(Peer(peer).host for peer in peers)
        buffer.put(Frames.of([b"x"] * len(peers), peers, 1.0))
    share = max_records // max(len(offered), 1)
    lost = by_sender(dropped)
    for sender, n in offered.items():
        assert not lost[sender] or n > share * 15 // 16
    assert sum(lost.values()) == max(0, offered.total() - max_records)
    assert by_sender(take_all(buffer)) == offered - lost


def test_what_is_taken_at_once_is_bounded_by_bytes_too() -> None:
    buffer = FairBuffer(20_000, 2**30, "block", lambda _: None)
    buffer.max_taken_bytes = 50_000
    for n in range(40):
        buffer.put(Frames.of([b"x" * 1000] * 100, f"10.0.0.{n % 4}:9", 1.0))
    taken = 0
    while buffer.records:
        items = buffer.take(512)
        assert 0 < sum(item.size_bytes for item in items) < 2 * 50_000
        taken += sum(map(len, items))
    assert taken == 4000


@pytest.mark.parametrize("first_waits", [True, False])
def test_frames_that_nobody_waits_for_have_no_part_in_the_fate_of_those_that_somebody_does(
    first_waits: bool,
) -> None:
    told: list[Status] = []
    buffer, _ = buffer_of("block")
    reads = [mixed("a", "b"), mixed("a", "b")]
    reads[not first_waits].acks = Acks.same(Ack(told.append), 2)
    for n, read in enumerate(reads):
        read.payloads = [b"%d" % n] * 2
        buffer.put(read)
    taken = buffer.take(10)
    assert [(item.payloads, item.acks is not None) for item in taken] == [
        ([b"0"], first_waits), ([b"1"], not first_waits),
    ] * 2  # fmt: skip
    for acks in [item.acks for item in taken if item.acks is not None]:
        assert told == []
        acks.settle(Status.DELIVERED)
    assert told == [Status.DELIVERED]


def test_small_parts_are_put_together_up_to_a_bound() -> None:
    buffer, _ = buffer_of("block", max_records=4000)
    for _ in range(1300):
        buffer.put(mixed("a", "b"))
    left = buffer.drain()
    assert sum(map(len, left)) == 2600
    for sender in "ab":
        sizes = [len(item) for item in left if item.peer(0) == f"{sender}:5"]
        assert max(sizes) == fair_buffer.GROWN_RECORDS
        assert len(sizes) <= 4


LARGE = numbered("flood", 0, 1, fill=1000).size_bytes
"""One turn serves about 15 such frames."""


@pytest.mark.parametrize("size", [(160, 10**9), (100_000, 60 * LARGE * 15)])
def test_after_a_reload_to_smaller_bounds_what_waits_is_served_in_turns(size: tuple[int, int]) -> None:
    for reloaded in (False, True):
        buffer, dropped = buffer_of("block", max_records=1600)
        buffer.put(numbered("flood", 0, 60, fill=1000))
        buffer.put(numbered("quiet", 0, 1))
        if reloaded:
            buffer.resize(*size, "block")
        first = by_sender(frames_of(buffer.take(30)))
        assert ("quiet" in first) is reloaded
        assert first + by_sender(take_all(buffer)) == {"flood": 60, "quiet": 1}
        assert not dropped


@pytest.mark.parametrize(
    ("max_records", "max_bytes", "flood", "sorted_"),
    [
        (160_000, 10**9, fair_buffer.FIFO_RECORDS - 1, False),
        (160_000, 10**9, fair_buffer.FIFO_RECORDS, True),
        (160, 10**9, 9, False),
        (160, 10**9, 60, True),
        (100_000, 62 * LARGE * fair_buffer.FIFO_FRACTION, 60, False),
        (100_000, 58 * LARGE * fair_buffer.FIFO_FRACTION, 60, True),
    ],
)
def test_senders_have_turns_where_more_waits_than_a_small_part_of_a_bound_or_a_fixed_number_of_frames(
    max_records: int, max_bytes: int, flood: int, sorted_: bool
) -> None:
    buffer, _ = buffer_of("block", max_records, max_bytes)
    for first in range(flood):
        buffer.put(numbered("flood", first, 1, fill=1000))
    buffer.put(numbered("quiet", 0, 1))
    assert ("quiet" in by_sender(frames_of(buffer.take(min(flood, 30))))) is sorted_


@pytest.mark.parametrize("senders", ["a", "ab", "abcde"])
async def test_who_waits_for_room_hears_of_it_however_many_senders_are_served(
    senders: str, until: Callable[[Callable[[], bool]], Awaitable[None]]
) -> None:
    buffer, _ = buffer_of("block")
    called: list[int] = []
    buffer.on_room = lambda: called.append(buffer.records)
    assert buffer.put(mixed(*(senders[n % len(senders)] for n in range(9))))
    assert not buffer.put(numbered("a", 9, 1))
    writer = asyncio.create_task(buffer.room())
    await asyncio.sleep(0)
    assert not writer.done()
    while buffer.records > 6:
        buffer.take(1)
    await until(writer.done)
    assert called == []
    buffer.take(1)
    assert called == [5]
    buffer.take(10)
    assert buffer.records == 0
    assert called == [5]


@pytest.mark.parametrize("bound", ["records", "bytes"])
def test_what_the_last_sender_was_served_does_not_count_for_it_at_the_next_drop(bound: str) -> None:
    frame_bytes = numbered("a", 0, 1, fill=100).size_bytes
    records, size_bytes = (100, 10**12) if bound == "records" else (10**9, 100 * frame_bytes)
    buffer, dropped = buffer_of("drop_oldest", records, size_bytes)
    for first in range(0, 90, 10):
        buffer.put(numbered("served", first, 10, fill=100))
    while buffer.records > 20:
        buffer.take(10)
    buffer.put(numbered("next", 0, 85, fill=100))
    assert by_sender(dropped) == {"next": 5}
    assert by_sender(take_all(buffer)) == {"served": 20, "next": 80}


def test_the_bytes_that_a_sender_has_in_small_parts_of_reads_count_for_it_at_a_drop() -> None:
    buffer, lost = buffer_of("drop_oldest", max_records=10**6, max_bytes=45_000)
    for _ in range(30):
        buffer.put(Frames.of([bytes(1000), b""], ["a:5", "b:5"], 1.0))
    for _ in range(20):
        buffer.put(Frames.of([bytes(1000)], "c:5", 1.0))
    assert by_sender(lost).keys() == {"a"}
