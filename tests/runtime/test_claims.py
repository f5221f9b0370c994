"""What is claimed at sinks, from where on a source reads, and when states are stored.

Also about `runtime/partition_state.py`.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from streamd.core.ack import Ack
from streamd.core.acks import Acks
from streamd.core.books import Books
from streamd.core.contracts import StepContext
from streamd.core.dead_letter import LetterList
from streamd.core.downstream import Downstream
from streamd.core.errors import SinkError
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.settings import Settings
from streamd.core.tenure import BEGINNING, Claimed, InputPart, StoredUpTo, Tenure
from streamd.runtime.claims import Claims
from streamd.runtime.fanout import Fanout, Output
from streamd.runtime.gate import Gate
from streamd.runtime.partition_state import PartitionState, decoded, encoded
from streamd.runtime.pipeline import Pipeline
from streamd.runtime.stage import Stage
from tests.runtime.test_tenured_steps import Count, Plain


class Store:
    """The positions and states of a sink."""

    def __init__(self) -> None:
        self.stored = BEGINNING
        self.state: bytes | None = None
        self.fault: SinkError | None = None
        self.claimed: list[tuple[Tenure, str]] = []

    async def claim(self, tenure: Tenure, pipeline: str) -> Claimed:
        if self.fault is not None:
            raise self.fault
        self.claimed.append((tenure, pipeline))
        return Claimed(self.stored, self.state)

    async def keep_state(self, tenure: Tenure, pipeline: str, state: bytes) -> None:
        if self.fault is not None:
            raise self.fault
        self.state = state


class Lab:
    """A source with pipelines of the given steps, each with a sink."""

    def __init__(self, *kinds: Any) -> None:
        self.books = Books()
        self.downstream = Downstream()
        self.kept: list[int] = []
        self.downstream.on_kept = lambda _, kept: self.kept.append(kept)
        self.stores = [Store() for _ in kinds]
        self.made: list[list[int]] = [[] for _ in kinds]
        """The parts of the records that each pipeline has made."""
        self.pipelines = []
        for number, kind in enumerate(kinds):
            name = f"p{number}"
            step = kind(Settings(), StepContext("count[0]", name, None, Path()))
            step.open()
            outputs = [Output(f"sink{number}", cast("Any", None))]
            letters = LetterList()
            fanout = Fanout(outputs, self.books, letters)
            stages = [Stage("count[0]", step)]
            self.pipelines.append(Pipeline(name, stages, fanout, letters, lambda: Now(0.0, 0.0), self.books))
        sinks: dict[str, Any] = {f"sink{number}": store for number, store in enumerate(self.stores)}
        self.claims = Claims("s", self.downstream, self.pipelines, sinks, self.books, lambda _: "digest")
        self.claims.connect()

    @property
    def stage(self) -> Stage:
        return self.pipelines[0].stages[0]

    def read(self, tenure: Tenure, *numbers: int) -> None:
        """Two frames of each part come to the steps, whose results are offered to the sinks."""
        for number in numbers:
            ack = Ack(lambda _: None, InputPart(tenure, number, 100.0 + number))
            frames = Frames.of([b"a", b"b"], "w.1", 1.0, ack=ack)
            self.claims.took(frames)
            for pipeline, made in zip(self.pipelines, self.made, strict=True):
                done = pipeline.stages[0].process([{"part": number}] * 2, ack, Now(0.0, 0.0))
                made += [record["part"] for record in done.records]


async def test_without_state_reading_begins_where_the_slowest_sink_is() -> None:
    lab = Lab(Plain, Plain)
    assert not lab.downstream.keeps_state
    lab.stores[0].stored, lab.stores[1].stored = StoredUpTo(9, 1), StoredUpTo(7, 5)
    tenure = Tenure("a")
    assert await lab.downstream.claim(tenure) == 7
    assert [store.claimed for store in lab.stores] == [[(tenure, "p0")], [(tenure, "p1")]]
    assert not tenure.has_own_state


async def test_with_state_reading_begins_where_the_state_ends() -> None:
    lab = Lab(Count)
    assert lab.downstream.keeps_state
    lab.stores[0].stored = StoredUpTo(9, 1)
    lab.stores[0].state = encoded(PartitionState(5, 77.0, [("digest", b"12")]))
    tenure = Tenure("a")
    assert await lab.downstream.claim(tenure) == 6
    assert tenure.has_own_state
    assert await lab.stage.snapshot_of(tenure) == b"12"
    own: Any = lab.stage.own.of(tenure)
    assert own.restored_at == Now(77.0, 77.0)


async def test_a_state_says_which_frames_it_contains_and_the_next_reader_goes_on_from_there() -> None:
    lab = Lab(Count)
    tenure = Tenure("a")
    assert await lab.downstream.claim(tenure) == 1
    lab.read(tenure, 3, 4)
    await lab.claims.finish()
    assert lab.kept == [4]
    assert decoded(lab.stores[0].state, tenure) == PartitionState(4, 104.0, [("digest", b"4")])
    again = Tenure("a")
    assert await lab.downstream.claim(again) == 5
    assert tenure.ended, "one tenure of an input at a time"
    lab.read(again, 5)
    await lab.claims.finish()
    assert lab.kept[1:] == [5]
    assert decoded(lab.stores[0].state, tenure).steps == [("digest", b"6")]


@pytest.mark.parametrize(("stored", "first"), [(BEGINNING, 0), (StoredUpTo(3, 1), 3), (StoredUpTo(9, 2), 6)])
async def test_a_part_that_a_state_contains_does_not_come_to_its_steps_again(
    stored: StoredUpTo, first: int
) -> None:
    """Another pipeline needs it: one without a state, or one whose state is behind."""
    lab = Lab(Count, Plain, Count)
    lab.stores[0].state = encoded(PartitionState(7, 77.0, [("digest", b"14")]))
    lab.stores[2].state = encoded(PartitionState(5, 75.0, [("digest", b"10")]))
    lab.stores[1].stored = stored
    tenure = Tenure("a")
    assert await lab.downstream.claim(tenure) == first
    numbers = range(max(1, first), 10)
    lab.read(tenure, *numbers)
    read = [number for number in numbers for _ in range(2)]
    assert lab.made == [[8, 8, 9, 9], read, [6, 6, 7, 7, 8, 8, 9, 9]]
    await lab.claims.finish()
    for store in (lab.stores[0], lab.stores[2]):
        assert decoded(store.state, tenure) == PartitionState(9, 109.0, [("digest", b"18")])


async def test_no_state_goes_back_behind_the_one_that_is_stored() -> None:
    lab = Lab(Count, Plain)
    lab.stores[0].state = before = encoded(PartitionState(7, 77.0, [("digest", b"14")]))
    lab.stores[1].stored = StoredUpTo(2, 1)
    tenure = Tenure("a")
    assert await lab.downstream.claim(tenure) == 2
    lab.read(tenure, 2, 3)
    await lab.claims.finish()
    assert lab.stores[0].state == before
    assert lab.kept == [3], "nobody needs these parts any more"
    lab.read(tenure, *range(4, 9))
    await lab.claims.finish()
    assert decoded(lab.stores[0].state, tenure) == PartitionState(8, 108.0, [("digest", b"16")])


async def test_a_state_of_another_version_is_left_out() -> None:
    lab = Lab(Count)
    lab.stores[0].state = msgspec.msgpack.encode([5, 2, 77.0, [("digest", b"12")]])
    tenure = Tenure("a")
    assert await lab.downstream.claim(tenure) == 1
    assert await lab.stage.snapshot_of(tenure) == b"0"


async def test_nothing_new_is_not_stored_again() -> None:
    lab = Lab(Count)
    tenure = Tenure("a")
    await lab.downstream.claim(tenure)
    await lab.claims.finish()
    assert lab.kept == []
    lab.read(tenure, 1)
    await lab.claims.finish()
    await lab.claims.finish()
    assert lab.kept == [1]


async def test_a_state_waits_for_the_commit_of_what_was_offered_before() -> None:
    lab = Lab(Count)
    tenure = Tenure("a")
    await lab.downstream.claim(tenure)
    lab.read(tenure, 1)
    book = lab.books.delivery("s", "p0", "sink0")
    other = lab.books.delivery("t", "p0", "sink0")
    book.offered = other.offered = 5
    finishing = asyncio.ensure_future(lab.claims.finish())
    for stored in range(5):
        book.stored = stored
        await asyncio.sleep(0)
        assert lab.stores[0].state is None
    book.offered, book.stored = 7, 5
    await finishing
    assert lab.kept == [1]


async def test_a_state_with_records_that_a_sink_left_out_is_not_stored() -> None:
    """The sink of another pipeline has found another reader, which begins before these records."""
    lab = Lab(Plain, Count)
    tenure = Tenure("a")
    await lab.downstream.claim(tenure)
    lab.read(tenure, 3)
    tenure.end("another process reads it now")
    await lab.claims.finish()
    assert [store.state for store in lab.stores] == [None, None]
    assert lab.kept == []


async def test_a_fault_of_the_sink_keeps_the_state_for_the_next_time() -> None:
    lab = Lab(Count)
    tenure = Tenure("a")
    await lab.downstream.claim(tenure)
    lab.read(tenure, 1)
    lab.stores[0].fault = SinkError("locked", "not now")
    await lab.claims.finish()
    assert lab.kept == []
    with pytest.raises(SinkError):
        await lab.downstream.claim(Tenure("b"))
    lab.stores[0].fault = None
    await lab.claims.finish()
    assert lab.kept == [1]


async def test_a_state_of_other_settings_is_left_out() -> None:
    lab = Lab(Count)
    lab.stores[0].state = encoded(PartitionState(5, 77.0, [("another", b"12")]))
    tenure = Tenure("a")
    assert await lab.downstream.claim(tenure) == 6
    assert await lab.stage.snapshot_of(tenure) == b"0"
    lab.stores[0].state = encoded(PartitionState(5, 77.0, [("digest", b"no number")]))
    other = Tenure("b")
    assert await lab.downstream.claim(other) == 6
    assert await lab.stage.snapshot_of(other) == b"0"


async def test_what_is_lost_is_forgotten_and_what_is_replaced_begins_anew(until: Callable[..., Any]) -> None:
    lab = Lab(Count)
    ended: list[str] = []
    lost, held = Tenure("a"), Tenure("b", ended.append)
    await lab.downstream.claim(lost)
    await lab.downstream.claim(held)
    lab.downstream.release(lost)
    await until(lambda: lab.stage.own.of(lost) is None)
    assert lab.claims.tenures == [held]
    after = Claims("s", lab.downstream, lab.pipelines, {}, lab.books, lambda _: "digest")
    after.connect()
    assert ended == ["unknown"]


async def test_states_are_stored_from_time_to_time_while_no_batch_is_under_way(
    until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamd.runtime.claims.KEEP_S", 0.001)
    lab, gate = Lab(Count), Gate()
    tenure = Tenure("a")
    await lab.downstream.claim(tenure)
    running = asyncio.ensure_future(lab.claims.run(gate, lambda: 0.0))
    lab.read(tenure, 1)
    await until(lambda: lab.kept == [1])
    with gate:
        lab.read(tenure, 2)
        for _ in range(100):
            await asyncio.sleep(0)
        assert lab.kept == [1]
    await until(lambda: lab.kept == [1, 2])
    await lab.claims.finish()
    await running


def test_records_without_acks_or_claims_are_not_counted() -> None:
    lab = Lab(Count)
    lab.claims.took(Frames.of([b"a"], "x", 1.0))
    acks = Acks([(1, None), (1, Ack(lambda _: None)), (1, Ack(lambda _: None, InputPart(Tenure("x"), 1)))])
    frames = Frames.of([b"a", b"b", b"c"], "x", 1.0)
    frames.acks = acks
    lab.claims.took(frames)
    assert lab.claims.tenures == []
