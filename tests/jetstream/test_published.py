"""However a file is read again, cut into batches and published, each record is in the stream once."""

import random
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from streamd.core.ack import Ack, Status
from streamd.core.acks import Acks
from streamd.core.batch import Batch
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.tenure import InputPart, Tenure
from streamd.files.position import Position, ReadingProgress
from streamd.jetstream.messages import MessageMaker
from streamd.jetstream.outbox import Outbox
from streamd.jetstream.published import MOST_ENDS, Published
from streamd.runtime.buffer import Buffer

NOW = Now(1000.0, 50.0)
FRAMES = 400


class Killed(Exception):  # noqa: N818 - no error
    """The process ends here."""


class Stream:
    """Stores each message id once, as a server does within its window."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.records: list[bytes] = []

    def publish(self, waiting: dict[int, deque[Any]], may_die: Any) -> None:
        for queue in waiting.values():
            for message in queue:
                may_die()
                if message.headers["Nats-Msg-Id"] not in self.ids:
                    self.ids.add(message.headers["Nats-Msg-Id"])
                    self.records += message.payload.splitlines()
                may_die()


class Process:
    """One run: reads the file from the saved position, in pieces of any size, until it is killed."""

    def __init__(
        self, rng: random.Random, folder: Path, stream: Stream, run: int, position: Position, mortal: bool
    ) -> None:
        self.rng = rng
        self.mortal = mortal
        self.stream = stream
        self.left_out = 0
        self.published = Published(Outbox(folder / "uplink", {}))
        self.maker = MessageMaker(f"run{run}", "s", "s", rng.randint(1, 6))
        self.progress = ReadingProgress()
        self.progress.cut_by("lines")
        self.progress.begin(position)
        for end in self.published.ends_of(self.progress.tenure.sequence):
            self.progress.divide_behind(end)
        self.buffer: Buffer[Batch] = Buffer(10**6, 10**9, "block", lambda _: None)

    def may_die(self) -> None:
        if self.mortal and self.rng.random() < 0.02:
            raise Killed

    def read(self, frames: int) -> None:
        """Read the next frames; the workers take them in pieces; a step passes on two of three records."""
        start = self.progress.handed_on
        parts = self.progress.parts(frames)
        ack = self.progress.waiting(Position("log", 1, start + frames, b""), frames)
        rest = Frames.of([b"%d" % n for n in range(start, start + frames)], "log", 1.0, ack=ack)
        for count in parts[:-1]:
            part, rest = rest.split(count)
            self.work(part)
        self.work(rest)

    def work(self, rest: Frames) -> None:
        while rest:
            count = self.rng.randint(1, 9)
            taken, rest = rest.split(count) if count < len(rest) else (rest, Frames.of([], "", 1.0))
            kept = [n for n, payload in enumerate(taken.payloads) if int(payload) % 3]
            acks = taken.acks.of_origins(kept) if taken.acks is not None else None
            if not kept:
                continue
            batch = Batch.of([taken.payloads[n] for n in kept], "lines", "main", "log", 1.0)
            batch.acks = acks
            self.buffer.put(batch)

    def write(self) -> None:
        self.may_die()
        batches = self.buffer.take(self.rng.randint(1, 12))
        if self.published.is_needed(batches):
            self.stream.publish(self.published.load(NOW), self.may_die)
        found = self.published.sort_out(batches)
        lines = [line + b"\n" for batch in found.batches for line in batch.records]
        waiting = self.maker.messages(lines, None, 1000)
        self.may_die()
        if self.published.has_to_put:
            self.published.put(waiting, NOW)
        self.stream.publish(waiting, self.may_die)
        if self.published.has_put:
            self.published.done()
            self.may_die()
        self.published.stored(found)
        self.left_out += found.left_out
        for batch in batches:
            batch.settle(Status.DELIVERED)


def run_to_the_end(process: Process, saved: Position) -> Position:
    """Read and write all of the file; returns the position that was saved last, also if it is killed."""
    try:
        while process.progress.handed_on < FRAMES or process.buffer.records:
            left = FRAMES - process.progress.handed_on
            if left and (process.rng.random() < 0.5 or not process.buffer.records):
                process.read(min(process.rng.randint(1, 60), left))
            else:
                process.write()
            if process.rng.random() < 0.1:
                saved = process.progress.savable or saved
    except Killed:
        pass
    return saved


@pytest.mark.parametrize("seed", range(60))
def test_kills_at_any_moment_double_and_lose_nothing(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)  # noqa: S311 - no secret
    stream = Stream()
    saved = Position("log", 1, 0, b"", numbering="n")
    left_out = 0
    for run in range(8):
        process = Process(rng, tmp_path, stream, run, saved, mortal=run < 7)
        saved = run_to_the_end(process, saved)
        left_out += process.left_out
    assert stream.records == [b"%d" % n for n in range(FRAMES) if n % 3]
    assert left_out or stream.ids == {f"run0-0-{n + 1}" for n in range(len(stream.ids))}


def batch_of(part: InputPart | None, count: int) -> Batch:
    made = Batch.of([b"x"] * count, "lines", "main", "log", 1.0)
    made.acks = Acks([(count, Ack(lambda _: None, part))])
    return made


@pytest.fixture
def published(tmp_path: Path) -> Published:
    return Published(Outbox(tmp_path / "uplink", {}))


def write(published: Published, batch: Batch) -> int:
    """Write one batch; returns how many of its records are left out."""
    if published.is_needed([batch]):
        published.load(NOW)
    found = published.sort_out([batch])
    if published.has_to_put:
        published.put({}, NOW)
    if published.has_put:
        published.done()
    published.stored(found)
    return found.left_out


@pytest.mark.parametrize("part", [None, InputPart(Tenure("readings-1"), 5)])
def test_records_without_a_numbered_frame_pass_and_touch_no_file(
    part: InputPart | None, published: Published, tmp_path: Path
) -> None:
    assert not published.is_needed([batch_of(part, 3)])
    published.sort_out([batch_of(part, 3)])
    assert not published.has_to_put
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_the_source_has_not_divided_is_published_rather_than_lost(published: Published) -> None:
    before = Tenure("log", is_shared=False)
    assert write(published, batch_of(InputPart(before, 1, frames=10), 10)) == 0
    tenure = Tenure("log", is_shared=False)
    assert write(published, batch_of(InputPart(tenure, 1, frames=4), 4)) == 4
    assert write(published, batch_of(InputPart(tenure, 5, frames=8), 8)) == 0
    assert write(published, batch_of(InputPart(tenure, 13, frames=2), 2)) == 0


def test_messages_of_a_killed_process_are_as_old_as_they_are(published: Published, tmp_path: Path) -> None:
    maker = MessageMaker("run", "s", "s", 9)
    batch = batch_of(InputPart(Tenure("log", is_shared=False), 1, frames=1), 1)
    published.load(NOW)
    published.sort_out([batch])
    published.put(maker.messages([b"x\n"], None, 99), NOW)
    later = Published(Outbox(tmp_path / "uplink", {}))
    (queue,) = later.load(Now(NOW.wall_s + 30, 7.0)).values()
    assert [message.first_sent_mono_s for message in queue] == [-23.0]
    assert later.ends_of("log") == {1}


def test_ends_of_old_sequences_are_forgotten(published: Published) -> None:
    for n in range(MOST_ENDS + 5):
        write(published, batch_of(InputPart(Tenure(f"log-{n}", is_shared=False), 1, frames=2), 2))
    assert published.ends_of("log-4") == set()
    assert published.ends_of("log-5") == {2}
