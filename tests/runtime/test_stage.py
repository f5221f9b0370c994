import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from streamd.core.batch import Record
from streamd.core.contracts import Offload, Processed, Step, StepContext
from streamd.core.now import Now
from streamd.core.settings import Settings
from streamd.runtime.stage import TURN_BYTES, Stage

NOW = Now(1.8e9, 100.0)
RAISED = [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit(), MemoryError()]


class Raises(Step[Any]):
    """Raises an exception wherever its code runs."""

    raised: BaseException

    def process(self, records: list[Record], now: Now) -> Processed:
        raise self.raised

    def tick(self, now: Now) -> Processed:
        raise self.raised

    def next_deadline(self) -> float | None:
        raise self.raised

    def snapshot(self) -> bytes | None:
        raise self.raised

    def restore(self, state: bytes, now: Now) -> None:
        raise self.raised


class InLoop(Raises):
    offload = Offload("loop", 1, 5.0)


class InThread(Raises):
    offload = Offload("thread", 1, 5.0)


@pytest.mark.parametrize("raised", RAISED, ids=lambda raised: type(raised).__name__)
@pytest.mark.parametrize("kind", [Raises, InLoop, InThread])
async def test_no_exit_interrupt_or_cancellation_of_a_step_leaves_it(
    kind: type[Raises], raised: BaseException
) -> None:
    step = kind(Settings(), StepContext("step[0]", "p", None, Path()))
    step.raised = raised
    stage = Stage("step[0]", step)
    with structlog.testing.capture_logs() as logs:
        if step.offload is None:
            done = stage.process([{"a": 1}], None, NOW)
            assert [bad.reason for bad in done.rejects] == ["exception"]
        assert (await stage.tick(NOW)).records == []
        assert stage.next_deadline() is None
    assert {line["event"] for line in logs} == {"step_failed"}
    assert not [line for line in logs if "dead letters" in line["hint"]]  # no record was rejected
    for call in (stage.snapshot(), stage.restore(b"state", NOW)):
        with pytest.raises(Exception, match=f"^$|{type(raised).__name__}"):
            await call
    await stage.close()


class Large(Step[Any]):
    """A step whose snapshot has many parts."""

    turns = 0
    seen: list[int]

    def process(self, records: list[Record], now: Now) -> Processed:
        return Processed(records)

    def snapshot_parts(self) -> Iterator[bytes]:
        for n in range(100):
            self.seen.append(self.turns)
            yield bytes([n]) * TURN_BYTES


async def test_the_event_loop_takes_turns_while_a_large_snapshot_is_made() -> None:
    step = Large(Settings(), StepContext("step[0]", "p", None, Path()))
    step.seen = []
    assert step.is_stateful

    async def turn() -> None:
        while True:
            step.turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    state = await Stage("step[0]", step).snapshot()
    turning.cancel()
    assert len(set(step.seen)) == 100
    step.seen = []
    assert state == step.snapshot() == b"".join(bytes([n]) * TURN_BYTES for n in range(100))


class EmptyPart(Step[Any]):
    """Its snapshot has an empty part in the middle."""

    def process(self, records: list[Record], now: Now) -> Processed:
        return Processed(records)

    def snapshot_parts(self) -> Iterator[bytes]:
        yield from (b"a", b"", b"b")


async def test_an_empty_part_does_not_end_a_snapshot() -> None:
    stage = Stage("step[0]", EmptyPart(Settings(), StepContext("step[0]", "p", None, Path())))
    assert await stage.snapshot() == b"ab"
