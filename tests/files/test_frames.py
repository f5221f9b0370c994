"""Frames of followed files, their numbers, and the framing that gives them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamd.core.contracts import AnyFramer
from streamd.core.counters import Counters
from streamd.core.errors import FramingError
from streamd.core.frames import Frames
from streamd.core.peer import Peer
from streamd.core.settings import Settings
from streamd.files.frames import FileFrames
from streamd.files.position import Position, ReadingProgress
from streamd.files.tail import Tail
from streamd.framing.newline import Newline
from streamd.framing.nul import Nul
from streamd.sources.file import File


class Taken:
    """An outlet with room for everything."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.frames: list[Frames] = []

    def offer(self, frames: Frames) -> bool:
        self.payloads += frames.payloads
        self.frames.append(frames)
        return True

    def refuse(self, n: int, reason: str) -> None:
        raise AssertionError((n, reason))

    def ended(self, peer: Peer) -> None:
        pass

    def on_resume(self, callback: Callable[[], None]) -> None:
        pass


def lines() -> AnyFramer:
    return Newline(Settings(), 1000, "truncate")


def texts() -> AnyFramer:
    return Nul(Settings(), 1000, "truncate")


class Reading:
    """A file, and the frames of what is written to it."""

    def __init__(self, path: Path, skip_to: int) -> None:
        self.path = path
        path.touch()
        self.progress = ReadingProgress()
        self.taken = Taken()
        counters = Counters()
        counters.declare(File.counters)
        self.frames = FileFrames(str(path), counters, lines, self.progress)
        self.progress.begin(None)
        self.progress.skip_to(skip_to)
        self.frames.open(self.taken, lambda: None)
        self.tail = Tail(path)
        self.frames.begin_at(self.tail.position(str(path), 0))

    def read(self, text: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(text)
        assert self.frames.feed(self.tail, self.tail.read() or b"") is None

    @property
    def numbered(self) -> tuple[bool, int]:
        """Whether lines are counted now, and since which frame."""
        return self.progress.framing == lines().digest, self.progress.framing_since


@pytest.fixture
def reading(tmp_path: Path) -> Any:
    return lambda skip_to: Reading(tmp_path / "in.log", skip_to)


def test_another_framing_numbers_frames_from_the_end_of_one_on(reading: Any) -> None:
    r = reading(0)
    r.read(b"a\nb")
    r.frames.become(texts)
    assert r.numbered == (True, 0)
    r.read(b"c\n")
    assert r.numbered == (False, 2)
    r.read(b"d\n\0")
    assert (r.taken.payloads, r.progress.handed_on) == ([b"a", b"bc", b"d\n"], 3)


def test_another_framing_waits_for_the_frames_that_are_skipped_by_their_numbers(reading: Any) -> None:
    r = reading(3)
    r.frames.become(texts)
    r.read(b"a\nb\n")
    assert r.numbered == (True, 0)
    r.read(b"c\nd\n")
    assert (r.taken.payloads, r.numbered) == ([b"d"], (False, 4))


def test_the_same_framing_again_is_no_other_one(reading: Any) -> None:
    r = reading(0)
    r.read(b"a\n")
    r.frames.become(lines)
    r.read(b"b\n")
    assert r.numbered == (True, 0)


@pytest.mark.parametrize(("skip_to", "numbered"), [(0, (False, 2)), (4, (True, 0))])
def test_a_file_ends_with_the_framing_that_it_was_cut_with(
    reading: Any, skip_to: int, numbered: tuple[bool, int]
) -> None:
    r = reading(skip_to)
    r.read(b"a\nb")
    r.frames.become(texts)
    r.frames.end(Position(str(r.path), 0, 0, b""))
    assert (r.progress.handed_on, r.numbered) == (2, numbered)


def test_a_broken_file_ends_with_the_framing_that_it_was_cut_with(reading: Any) -> None:
    r = reading(0)
    r.read(b"a\nb")
    r.frames.become(texts)
    r.frames.feed(r.tail, b"", FramingError("broken", [b"b"], 0))
    assert (r.taken.payloads, r.numbered) == ([b"a", b"b"], (False, 2))


@pytest.mark.parametrize(
    "other", [texts(), Newline(Settings(), 1001, "truncate"), Newline(Settings(), 1000, "drop")]
)
def test_framers_that_may_cut_other_frames_have_other_digests(other: AnyFramer) -> None:
    assert lines().digest == lines().digest != other.digest


def parts(taken: Taken) -> list[tuple[int, int]]:
    """The number and the frames of each part of the input that was offered."""
    acks = [ack for frames in taken.frames if frames.acks for _, ack in frames.acks.runs]
    return [(ack.origin.number, ack.origin.frames) for ack in acks if ack is not None and ack.origin]


def test_a_part_of_the_input_ends_behind_the_frames_that_a_sink_has_stored(reading: Any) -> None:
    r = reading(0)
    for end in (7, 2, 3, 2):
        r.progress.divide_behind(end)
    r.read(b"1\n2\n3\n4\n5\n")
    r.read(b"6\n7\n8\n")
    r.read(b"9\n")
    assert parts(r.taken) == [(1, 2), (3, 1), (4, 2), (6, 2), (8, 1), (9, 1)]
    assert r.taken.payloads == [b"%d" % n for n in range(1, 10)]


def test_after_a_gap_no_frame_has_a_number_that_a_sink_has_stored(reading: Any) -> None:
    r = reading(0)
    r.progress.divide_behind(50)
    r.progress.stop_skipping()
    r.read(b"1\n2\n")
    assert parts(r.taken) == [(51, 2)]


def test_frames_of_another_framing_are_another_input(reading: Any) -> None:
    r = reading(0)
    r.read(b"a\n")
    first = r.progress.tenure
    r.frames.become(lines)
    r.read(b"b\n")
    assert r.progress.tenure is first
    r.frames.become(texts)
    r.read(b"c\n")
    assert r.progress.tenure.sequence != first.sequence
    assert not r.progress.tenure.is_shared
