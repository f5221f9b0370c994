"""Codecs that hold frames: what the workers call, when, and what the books say meanwhile."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamd.core.ack import Ack, Status
from streamd.core.contracts import BadFrame, Codec, Decoded
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.settings import Settings

TIMEOUT_S = 0.005


class Pairs(Codec[Settings]):
    """Two frames of one sender are a record. The first waits `TIMEOUT_S` for the second, then it is a reject;
    when its connection ends it is a record alone.
    """

    holds = True

    def __init__(self) -> None:
        super().__init__(self.Config(), None)
        self.firsts: dict[int, tuple[Frames, float]] = {}

    def decode(self, frames: Frames, now: Now) -> Decoded:
        released: list[Frames] = []
        for frame in one_by_one(frames):
            key = id(frame.peer(0))
            if key not in self.firsts:
                self.firsts[key] = frame, now.mono_s + TIMEOUT_S
            else:
                released += [self.firsts.pop(key)[0], frame]
        words = [a.payloads[0] + b.payloads[0] for a, b in zip(released[::2], released[1::2], strict=True)]
        origins = range(1, len(released), 2)
        records = [{"word": word.decode()} for word in words]
        return Decoded(records, [*origins], frames=Frames.merge(released) if released else nothing())

    def forget(self, peer: Peer, now: Now) -> Decoded | None:
        if id(peer) not in self.firsts:
            return None
        first, _ = self.firsts.pop(id(peer))
        return Decoded([{"word": first.payloads[0].decode()}], [0], frames=first)

    def tick(self, now: Now) -> Decoded | None:
        late = [key for key, (_, deadline) in self.firsts.items() if deadline <= now.mono_s]
        return self.rejected([self.firsts.pop(key)[0] for key in late], "test:late")

    def next_deadline(self) -> float | None:
        return min((deadline for _, deadline in self.firsts.values()), default=None)

    def finish(self, now: Now) -> Decoded | None:
        held, self.firsts = [first for first, _ in self.firsts.values()], {}
        return self.rejected(held, "test:stop")

    @staticmethod
    def rejected(parts: list[Frames], reason: str) -> Decoded | None:
        if not parts:
            return None
        frames = Frames.merge(parts)
        rejects = [BadFrame(n, payload, reason) for n, payload in enumerate(frames.payloads)]
        return Decoded([], [], rejects, frames=frames)


def one_by_one(frames: Frames) -> Iterator[Frames]:
    while len(frames) > 1:
        first, frames = frames.split(1)
        yield first
    yield frames


def nothing() -> Frames:
    return Frames.of([], "", 0.0)


def peer(text: str) -> Peer:
    """A peer of its own, as each connection has one."""
    return Peer(text)


@pytest.fixture
def b(bench: Any) -> Any:
    made = bench(workers=2)
    made.feed.codec = Pairs()
    made.feed.connections = made.intake.connections
    made.workers.unfinished = [made.feed]
    return made


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


async def stopped(b: Any, running: asyncio.Task[None]) -> None:
    delivering = asyncio.create_task(b.deliveries[0].run())
    b.workers.close()
    await running
    b.deliveries[0].buffer.close()
    await delivering
    book = b.feed.frames
    assert (book.held, book.waiting) == (0, 0)
    assert book.received == book.decoded + book.rejected.total()
    assert b.balanced


async def test_a_held_frame_is_in_the_books_as_held_until_it_is_a_record(b: Any) -> None:
    told: list[Status] = []
    running = asyncio.create_task(b.workers.run())
    one = peer("10.0.0.1:1")
    b.intake.offer(Frames.of([b"a"], one, 1.0, ack=Ack(told.append)))
    await until(lambda: b.feed.frames.held == 1)
    assert (b.feed.frames.decoded, b.feed.frames.waiting, told) == (0, 0, [])
    b.intake.offer(Frames.of([b"b"], one, 2.0, ack=Ack(told.append)))
    await until(lambda: b.feed.frames.decoded == 2)
    assert (b.feed.frames.held, b.records.taken_in) == (0, 1)
    await stopped(b, running)
    assert [record["word"] for record in b.sinks[0].written] == ["ab"]
    assert told == [Status.DELIVERED] * 2


async def test_the_end_of_a_connection_reaches_the_codec_behind_its_frames(b: Any) -> None:
    one, two = peer("pid=1,uid=2,gid=3"), peer("pid=1,uid=2,gid=3")
    b.feed.connections.count(on=True)
    b.intake.offer(Frames.of([b"a"], one, 1.0))
    b.intake.offer(Frames.of([b"x"], two, 1.0))
    b.intake.ended(one)
    running = asyncio.create_task(b.workers.run())
    await until(lambda: b.feed.frames.decoded == 1)
    assert b.feed.frames.held == 1
    b.intake.ended(two)
    await until(lambda: b.feed.frames.decoded == 2)
    await stopped(b, running)
    assert [record["word"] for record in b.sinks[0].written] == ["a", "x"]


async def test_at_the_deadline_of_the_codec_a_worker_wakes_and_what_is_late_is_a_dead_letter(
    b: Any, stays: Any
) -> None:
    told: list[Status] = []
    running = asyncio.create_task(b.workers.run())
    b.intake.offer(Frames.of([b"a"], peer("10.0.0.1:1"), 17.0, ack=Ack(told.append)))
    await until(lambda: b.feed.frames.held == 1)
    await stays(lambda: b.feed.frames.held == 1, 2 * TIMEOUT_S)
    b.mono_s += TIMEOUT_S
    await until(lambda: b.feed.frames.rejected["test:late"] == 1)
    letter = b.office.letters[0]
    assert (letter.payload, letter.peer, letter.received_at, letter.stage) == (
        b"a", "10.0.0.1:1", 17.0, "decode",
    )  # fmt: skip
    assert told == [Status.REJECTED]
    await stopped(b, running)


async def test_what_is_held_at_a_stop_is_given_up_by_the_codec_after_the_last_frame(b: Any) -> None:
    told: list[Status] = []
    running = asyncio.create_task(b.workers.run())
    one = peer("10.0.0.1:1")
    for n in range(5):
        b.intake.offer(Frames.of([b"%d" % n], one, 1.0, ack=Ack(told.append)))
    await stopped(b, running)
    assert [record["word"] for record in b.sinks[0].written] == ["01", "23"]
    assert b.feed.frames.rejected == {"test:stop": 1}
    assert [letter.payload for letter in b.office.letters] == [b"4"]
    assert sorted(told) == [Status.DELIVERED] * 4 + [Status.REJECTED]


async def test_a_codec_that_stays_on_a_reload_keeps_what_it_holds_and_another_gives_it_up(b: Any) -> None:
    for kept in (True, False):
        running = asyncio.create_task(b.workers.run())
        before = b.feed.frames.rejected.total()
        b.intake.offer(Frames.of([b"a"], peer("10.0.0.1:1"), 1.0))
        await until(lambda: b.feed.frames.held == 1)
        b.workers.retire(lambda _: False, [b.feed.codec] if kept else [])
        await running
        assert b.feed.frames.held == kept
        assert b.feed.frames.rejected.total() - before == (not kept)
        if kept:
            b.feed.codec.finish(b.now())
            b.feed.frames.held = 0
            b.feed.frames.decoded += 1
            b.workers = type(b.workers)([b.feed], b.office, b.now, count=2, max_batch=3)


async def test_what_a_codec_had_no_time_to_give_up_is_dropped(b: Any) -> None:
    running = asyncio.create_task(b.workers.run())
    b.intake.offer(Frames.of([b"a"], peer("10.0.0.1:1"), 1.0))
    await until(lambda: b.feed.frames.held == 1)
    running.cancel()
    await asyncio.wait({running})
    assert b.intake.abandon() == 1
    assert (b.feed.frames.held, b.feed.frames.dropped) == (0, {"shutdown": 1})
    assert b.feed.frames.waiting == 0
