"""A step sees the buffers and losses of the sources of its pipeline."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streamd.core.books import FrameBook, RecordBook
from streamd.core.contracts import StepContext
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.runtime.buffer import Buffer
from streamd.runtime.feed import Feed, Route
from streamd.runtime.upstreams import connect
from streamd.steps.set import Set


class Line:
    """A pipeline with one step, of which nothing runs."""

    def __init__(self) -> None:
        step = Set(Set.Config(remove=["a"]), StepContext("set[0]", "p", None, Path()))
        self.upstream = step.context.upstream
        self.pipeline = cast("Any", SimpleNamespace(stages=[SimpleNamespace(step=step)]))

    def feed(self, name: str, *, resumes: bool) -> Feed:
        buffer: Buffer[Frames] = Buffer(100, 100_000, "block", lambda _: None)
        route = Route(self.pipeline, RecordBook(name, "p"))
        return Feed(buffer, cast("Any", None), FrameBook(name), [route], resumes=resumes)


@pytest.fixture
def line() -> Line:
    return Line()


def test_frames_that_wait_and_all_losses_of_the_sources_are_seen(line: Line) -> None:
    one, other = line.feed("a", resumes=True), line.feed("b", resumes=True)
    strange = Line().feed("c", resumes=False)
    connect(line.pipeline, [one, other, strange], Now(50.0, 1.0))
    assert (line.upstream.waiting(), line.upstream.lost(), line.upstream.since_wall_s) == (0, 0, None)
    one.buffer.put(Frames.of([b"x", b"y"], "p", 1.0))
    other.buffer.put(Frames.of([b"z"], "p", 1.0))
    strange.buffer.put(Frames.of([b"z"], "p", 1.0))
    one.frames.dropped["buffer_full"] += 2
    other.routes[0].records.dropped["shutdown"] += 3
    other.frames.counters.add("kernel_dropped", 4)
    strange.frames.dropped["buffer_full"] += 100
    assert (line.upstream.waiting(), line.upstream.lost()) == (3, 9)


def test_a_step_that_a_reload_keeps_has_listened_since_its_start(line: Line) -> None:
    connect(line.pipeline, [line.feed("a", resumes=False), line.feed("b", resumes=True)], Now(50.0, 1.0))
    assert line.upstream.since_wall_s == 50.0
    connect(line.pipeline, [line.feed("a", resumes=False)], Now(70.0, 21.0))
    assert line.upstream.since_wall_s == 50.0
    connect(line.pipeline, [line.feed("b", resumes=True)], Now(80.0, 31.0))
    assert line.upstream.since_wall_s is None
