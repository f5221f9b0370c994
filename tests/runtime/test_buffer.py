import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.ack import Ack
from streamd.core.acks import Acks
from streamd.core.batch import Batch
from streamd.core.column import Column
from streamd.core.frames import FRAME_OVERHEAD_BYTES, Frames
from streamd.core.peer import Peer
from streamd.core.settings import WhenFull
from streamd.core.tenure import InputPart, Tenure
from streamd.runtime.buffer import Buffer
from streamd.runtime.fair_buffer import FairBuffer

TENURE = Tenure("readings.1")


def frames(*payloads: bytes) -> Frames:
    return Frames.of(list(payloads), "127.0.0.1:1", 1.0)


def numbered(first: int, count: int) -> Frames:
    return frames(*(b"%d" % n for n in range(first, first + count)))


def buffer_of(
    when_full: WhenFull, max_records: int = 10, max_bytes: int = 10**9
) -> tuple[Buffer[Frames], list[bytes]]:
    dropped: list[bytes] = []
    return Buffer(max_records, max_bytes, when_full, lambda item: dropped.extend(item.payloads)), dropped


def payloads(items: list[Frames]) -> list[bytes]:
    return [payload for item in items for payload in item.payloads]


def test_block_takes_everything_and_says_stop_when_full() -> None:
    buffer, dropped = buffer_of("block")
    assert buffer.put(numbered(0, 9))
    assert not buffer.put(numbered(9, 5))
    assert buffer.records == 14
    assert dropped == []


def test_block_calls_for_more_once_half_of_it_is_free() -> None:
    buffer, _ = buffer_of("block")
    calls: list[int] = []
    buffer.on_room = lambda: calls.append(buffer.records)
    buffer.put(numbered(0, 5))
    buffer.put(numbered(5, 5))
    buffer.take(3)
    assert calls == []
    buffer.take(5)
    assert calls == [5]
    buffer.take(5)
    assert len(calls) == 1


def test_drop_newest_keeps_what_came_first() -> None:
    buffer, dropped = buffer_of("drop_newest")
    buffer.put(numbered(0, 8))
    assert buffer.put(numbered(8, 4))
    assert payloads(buffer.take(100)) == [b"%d" % n for n in range(10)]
    assert dropped == [b"10", b"11"]


def test_drop_oldest_keeps_what_came_last() -> None:
    buffer, dropped = buffer_of("drop_oldest")
    buffer.put(numbered(0, 8))
    assert buffer.put(numbered(8, 4))
    assert payloads(buffer.take(100)) == [b"%d" % n for n in range(2, 12)]
    assert dropped == [b"0", b"1"]


def test_drop_oldest_cuts_an_item_larger_than_the_whole_buffer() -> None:
    buffer, dropped = buffer_of("drop_oldest")
    buffer.put(numbered(0, 25))
    assert payloads(buffer.take(100)) == [b"%d" % n for n in range(15, 25)]
    assert len(dropped) == 15


def test_a_large_item_is_taken_in_even_parts_no_larger_than_asked() -> None:
    buffer, _ = buffer_of("block", max_records=10_000)
    buffer.put(numbered(0, 585))
    assert [len(item) for item in buffer.take(512)] == [293]
    assert [len(item) for item in buffer.take(512)] == [292]
    assert buffer.records == 0
    assert buffer.size_bytes == 0


def of_parts(number: int, counts: list[int], *, is_numbered: bool = False) -> Frames:
    """Frames of parts of an input, of which each has so many."""
    runs: list[tuple[int, Ack | None]] = [
        (count, Ack(lambda _: None, InputPart(TENURE, number + place, frames=count if is_numbered else 1)))
        for place, count in enumerate(counts)
    ]
    whole = frames(*(b"%d" % n for n in range(sum(counts))))
    whole.acks = Acks(runs)
    return whole


@pytest.mark.parametrize("kind", [Buffer, FairBuffer])
@pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest"])
def test_a_part_without_numbers_of_an_input_is_taken_and_dropped_as_a_whole(
    kind: type[Buffer[Frames]], policy: WhenFull
) -> None:
    lost: list[int] = []
    buffer = kind(10, 10**9, policy, lambda item: lost.append(len(item)))
    for number in range(3):
        buffer.put(of_parts(number, [4]))
    assert sum(lost) == 4
    assert [len(item) for item in buffer.take(3)] == [4]
    assert [len(item) for item in buffer.take(9)] == [4]
    buffer.put(of_parts(4, [6, 6]))
    assert sum(lost) == 10, "of two parts in one item, one is lost"
    assert [len(item) for item in buffer.take(1)] == [6]
    buffer.put(of_parts(6, [5, 6], is_numbered=True))
    assert sum(lost) == 11, "frames with numbers are parts of their own"


def test_turns_of_senders_end_with_whole_parts() -> None:
    buffer = FairBuffer(100, 10**9, "block", lambda _: None)
    for host in ("a", "b"):
        item = of_parts(1, [30])
        item.payloads = [b"x" * 2000] * 30  # more than a sender may use in one turn
        item.peers = Column(Peer(host))
        item.size_bytes = 30 * 2048
        buffer.put(item)
    assert [len(item) for item in buffer.take(20)] == [30]
    assert [len(item) for item in buffer.take(20)] == [30]


def test_small_items_are_taken_together() -> None:
    buffer, _ = buffer_of("block")
    for n in range(5):
        buffer.put(numbered(n, 1))
    assert payloads(buffer.take(4)) == [b"0", b"1", b"2", b"3"]


@given(
    st.sampled_from(["block", "drop_newest", "drop_oldest"]),
    st.integers(1, 20),
    st.integers(100, 2000),
    st.lists(st.one_of(st.integers(-30, -1), st.lists(st.binary(max_size=40), max_size=30)), max_size=60),
)
def test_every_frame_is_taken_or_dropped_or_waiting_and_bounds_hold(
    when_full: WhenFull, max_records: int, max_bytes: int, moves: list[Any]
) -> None:
    buffer, dropped = buffer_of(when_full, max_records, max_bytes)
    given_in: list[bytes] = []
    taken: list[bytes] = []
    for move in moves:
        if isinstance(move, int):
            items = buffer.take(-move)
            assert sum(map(len, items)) <= -move
            taken += payloads(items)
        else:
            unique = [b"%06d" % (len(given_in) + n) + part for n, part in enumerate(move)]
            given_in += unique
            stop = buffer.put(frames(*unique))
            if when_full != "block":
                assert stop
                assert buffer.records <= max_records
                assert buffer.size_bytes <= max_bytes
    rest = payloads(buffer.take(10**9))
    while buffer.records:
        rest += payloads(buffer.take(10**9))
    assert sorted(taken + rest + dropped) == sorted(given_in)
    assert taken + rest == sorted(taken + rest), "order is kept"
    assert buffer.size_bytes == 0


async def test_writers_wait_until_a_full_buffer_has_room_and_each_has_put_before() -> None:
    buffer, _ = buffer_of("block", max_records=4)

    async def write(n: int) -> None:
        buffer.put(numbered(n, 2))
        await buffer.room()

    writers = [asyncio.create_task(write(n)) for n in (0, 2, 4, 6)]
    await asyncio.sleep(0)
    assert [writer.done() for writer in writers] == [True, False, False, False]
    assert payloads(buffer.take(4)) == [b"0", b"1", b"2", b"3"]
    await asyncio.sleep(0)
    assert not any(writer.done() for writer in writers[1:]), "four wait: full still"
    assert payloads(buffer.take(2)) == [b"4", b"5"]
    await asyncio.gather(*writers)
    assert payloads(buffer.take(4)) == [b"6", b"7"]


@pytest.mark.parametrize("when_full", ["drop_newest", "drop_oldest"])
async def test_where_a_buffer_drops_there_is_always_room(when_full: WhenFull) -> None:
    buffer, dropped = buffer_of(when_full, max_records=1)
    buffer.put(numbered(0, 2))
    await buffer.room()
    assert len(dropped) == 1


async def test_a_writer_that_gives_up_leaves_nothing_behind() -> None:
    buffer, _ = buffer_of("block", max_records=1)
    buffer.put(numbered(0, 1))
    writer = asyncio.create_task(buffer.room())
    await asyncio.sleep(0)
    writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writer
    assert payloads(buffer.take(10)) == [b"0"]
    assert buffer.records == 0


async def test_the_reader_wakes_at_the_number_it_asked_for_at_full_and_at_close() -> None:
    for puts, close in (([3, 3], False), ([1], True)):
        buffer, _ = buffer_of("block", max_records=10)
        reader = asyncio.create_task(buffer.wait(6))
        for n in puts:
            await asyncio.sleep(0)
            assert not reader.done()
            buffer.put(numbered(0, n))
        if close:
            buffer.close()
        await reader
    buffer, _ = buffer_of("block", max_records=10, max_bytes=4 * FRAME_OVERHEAD_BYTES)
    reader = asyncio.create_task(buffer.wait(8))
    await asyncio.sleep(0)
    buffer.put(numbered(0, 5))
    await reader


def test_what_is_taken_at_once_is_bounded_by_bytes_too() -> None:
    buffer, _ = buffer_of("block", max_records=10_000)
    buffer.max_taken_bytes = 1000
    buffer.put(frames(*[b"x" * 52] * 35))
    buffer.put(frames(b"y" * 5000))
    buffer.put(frames(b"z"))
    taken = [buffer.take(512) for _ in range(6)]
    assert [sum(map(len, items)) for items in taken] == [9, 9, 9, 8, 1, 1]
    assert [payload for items in taken for item in items for payload in item.payloads] == [
        *[b"x" * 52] * 35, b"y" * 5000, b"z",
    ]  # fmt: skip


async def test_larger_bounds_let_those_go_on_who_wait_for_room() -> None:
    buffer, _ = buffer_of("block", max_records=4)
    calls: list[int] = []
    buffer.on_room = lambda: calls.append(buffer.records)
    assert not buffer.put(numbered(0, 4))
    writer = asyncio.create_task(buffer.room())
    await asyncio.sleep(0)
    buffer.resize(20, 10**9, "block")
    await asyncio.wait_for(writer, 60)
    assert calls == [4]
    assert buffer.put(numbered(4, 1))


def test_a_read_of_nothing_does_not_tell_a_writer_to_go_on_before_it_is_called() -> None:
    buffer, _ = buffer_of("block", max_records=4)
    assert buffer.put(frames())
    assert not buffer.put(numbered(0, 4))
    buffer.take(1)
    assert not buffer.put(frames())
    buffer.take(4)
    assert buffer.put(frames())


def test_a_writer_is_called_once_half_of_the_bytes_are_free_too() -> None:
    one_bytes = frames(b"0").size_bytes
    buffer, _ = buffer_of("block", max_records=100, max_bytes=8 * one_bytes)
    calls: list[int] = []
    buffer.on_room = lambda: calls.append(buffer.records)
    assert not buffer.put(numbered(0, 8))
    buffer.take(3)
    assert calls == []
    buffer.take(1)
    assert calls == [4]


@pytest.mark.parametrize(("max_records", "max_bytes"), [(4, 10**9), (100, 4 * (FRAME_OVERHEAD_BYTES + 1))])
async def test_a_reader_that_wants_more_than_a_buffer_can_hold_does_not_wait_for_it(
    max_records: int, max_bytes: int
) -> None:
    buffer, _ = buffer_of("block", max_records, max_bytes)
    buffer.put(numbered(0, 4))
    await asyncio.wait_for(buffer.wait(100), 60)


async def test_a_reader_of_a_closed_buffer_does_not_wait() -> None:
    buffer, _ = buffer_of("block")
    buffer.close()
    await asyncio.wait_for(buffer.wait(), 60)


async def test_a_reader_that_gave_up_leaves_nothing_behind() -> None:
    buffer, _ = buffer_of("block")
    reader = asyncio.create_task(buffer.wait(3))
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.wait({reader})
    assert buffer._reader is None
    buffer.put(numbered(0, 5))
    await asyncio.wait_for(buffer.wait(3), 60)


async def test_a_reader_may_be_woken_by_several_puts_before_it_has_its_turn() -> None:
    buffer, _ = buffer_of("block")
    reader = asyncio.create_task(buffer.wait())
    await asyncio.sleep(0)
    buffer.put(numbered(0, 1))
    buffer.put(numbered(1, 1))
    buffer.close()
    await reader
    assert payloads(buffer.take(10)) == [b"0", b"1"]


def test_every_put_calls_who_waits_for_something() -> None:
    buffer, _ = buffer_of("block", max_records=100)
    calls: list[int] = []
    buffer.on_ready = lambda: calls.append(buffer.records)
    for n in range(3):
        buffer.put(numbered(n, 1))
    assert calls == [1, 2, 3]


def test_a_drained_buffer_is_as_new() -> None:
    buffer, dropped = buffer_of("drop_newest", max_records=4, max_bytes=4 * (FRAME_OVERHEAD_BYTES + 1))
    buffer.put(numbered(0, 4))
    assert payloads(buffer.drain()) == [b"0", b"1", b"2", b"3"]
    assert (buffer.records, buffer.size_bytes, buffer.full, buffer.drain()) == (0, 0, False, [])
    buffer.put(numbered(4, 4))
    assert dropped == []
    assert payloads(buffer.take(10)) == [b"4", b"5", b"6", b"7"]


def test_what_a_take_holds_already_counts_against_what_it_may_have() -> None:
    """`FairBuffer` takes by turns, and the rest so."""
    buffer, _ = buffer_of("block", max_records=100)
    buffer.put(numbered(0, 3))
    buffer.put(numbered(3, 3))
    taken = [numbered(90, 2)]
    buffer._fill(taken, buffer._items, 4)
    assert [len(item) for item in taken] == [2]
    buffer._fill(taken, buffer._items, 5)
    assert [len(item) for item in taken] == [2, 3]
    buffer.max_taken_bytes = sum(item.size_bytes for item in taken) + 1
    buffer._fill(taken, buffer._items, 100)
    assert [len(item) for item in taken] == [2, 3]


def test_drop_newest_drops_a_read_for_which_there_is_no_room_at_all() -> None:
    buffer, dropped = buffer_of("drop_newest", max_records=2)
    for n in range(4):
        assert buffer.put(numbered(n, 1))
    assert dropped == [b"2", b"3"]
    assert buffer.records == 2


def test_drop_oldest_drops_as_many_of_a_size_as_are_too_much_and_no_more() -> None:
    one_bytes = frames(b"0").size_bytes
    buffer, dropped = buffer_of("drop_oldest", max_records=100, max_bytes=5 * one_bytes + one_bytes // 2)
    split: list[int] = []
    real = Frames.split

    def counted(item: Frames, count: int) -> tuple[Frames, Frames]:
        split.append(count)
        return real(item, count)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Frames, "split", counted)
        buffer.put(numbered(0, 9))
    assert dropped == [b"0", b"1", b"2", b"3"]
    assert split == [4], "at once: each cut copies what is left"


def test_records_of_one_part_of_an_input_are_taken_together() -> None:
    buffer: Buffer[Batch] = Buffer(10**6, 10**9, "block", lambda _: None)
    tenure = Tenure("log", is_shared=False)
    batch = Batch.of([{"n": n} for n in range(10)], "lines", "main", "log", 1.0)
    batch.acks = Acks([(count, Ack(lambda _: None, InputPart(tenure, count))) for count in (3, 4, 3)])
    buffer.put(batch)
    assert [len(taken) for _ in range(3) for taken in buffer.take(2)] == [3, 4, 3]
    assert buffer.records == 0
