import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.frames import FRAME_OVERHEAD_BYTES, Frames
from streamd.core.settings import WhenFull
from streamd.runtime.buffer import Buffer


def frames(*payloads: bytes) -> Frames:
    return Frames(list(payloads), "127.0.0.1:1", 1.0)


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
