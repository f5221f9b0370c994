"""Letters whose records stay in a step, until it is known what the step makes of them."""

from collections.abc import Iterable, Sequence
from typing import Any

from streamd.core.ack import Ack, Status
from streamd.core.batch import Batch
from streamd.core.books import RecordBook
from streamd.core.contracts import Processed
from streamd.runtime.pipeline import Pipeline
from streamd.runtime.stage import Stage


class Kept:
    """What the steps of the pipelines of one origin keep.

    A step may keep the records of a letter with a hold, which tells their fate, or without one. Then the
    letter waits until the end. A step without a snapshot has handed on everything with its last tick. The
    state of a step with one is not stored by a replay, so its letters may go only if it is as it was at the
    beginning.
    """

    def __init__(self) -> None:
        self.holder = ""
        """While letters are given up: the step that keeps their records."""
        self._pipelines: list[Pipeline] = []
        self._states: dict[Stage, bytes | None] = {}
        self._acks: dict[Stage, list[Ack]] = {}
        self._with_holds: set[Stage] = set()
        self._absorbing: set[Stage] = set()

    async def begin(self, pipelines: Iterable[Pipeline]) -> None:
        """Open their steps, and take the states that these begin with. Raises `EnvironmentFault`."""
        self._pipelines = list(pipelines)
        for stage in self._stages:
            stage.open()
            self._states[stage] = await _state(stage)

    @property
    def _stages(self) -> list[Stage]:
        return [stage for pipeline in self._pipelines for stage in pipeline.stages]

    @property
    def is_empty(self) -> bool:
        """Whether no letter waits for a step."""
        return not any(self._acks.values()) and not any(stage.holding.open for stage in self._stages)

    def absorbed(self, stage: Stage, ack: Ack | None) -> None:
        """The step has absorbed records: those of a letter, or without `ack` those of a tick before it."""
        self._absorbing.add(stage)
        if stage.holding.open:
            self._with_holds.add(stage)
        if ack is not None and stage not in self._with_holds:
            self._acks.setdefault(stage, []).append(ack.fork())

    async def look(self) -> None:
        """After the last ticks, while the steps are open: give up the letters that a step still keeps."""
        for pipeline in self._pipelines:
            keeping = ""
            for stage in pipeline.stages:
                lost = stage in self._absorbing and await self._would_lose(stage)
                if lost or stage.holding.open:
                    keeping = f"{pipeline.name} > {stage.name}"
                self.holder = keeping
                for hold in list(stage.holding.open):
                    hold.settle(Status.FAILED)
            self.holder = keeping
            for stage in pipeline.stages if keeping else ():
                _settle(self._acks.pop(stage, ()), Status.FAILED)
            self.holder = ""

    def settle(self) -> None:
        """What the steps have handed on is committed: so is what the other letters have become."""
        for stage in list(self._acks):
            _settle(self._acks.pop(stage), Status.DELIVERED)

    async def _would_lose(self, stage: Stage) -> bool:
        if stage.step.is_stateful:
            return await _state(stage) != self._states[stage]
        return not stage.step.is_timed and stage not in self._with_holds


class KeepingPipeline(Pipeline):
    """Tells `kept` of records that a step has absorbed."""

    kept: Kept

    def _book(
        self, stage: Stage, outcomes: list[Processed], batch: Batch, book: RecordBook
    ) -> list[Processed]:
        acks: Sequence[Any] = [None] if batch.acks is None else [ack for _, ack in batch.acks.runs]
        for done, ack in zip(outcomes, acks, strict=True):
            if done.absorbed:
                self.kept.absorbed(stage, ack)
        return super()._book(stage, outcomes, batch, book)


async def _state(stage: Stage) -> bytes | None:
    """The state of a step; None where its own code fails, or says that it has none."""
    try:
        return await stage.snapshot() if stage.step.is_stateful else None
    except Exception as error:  # noqa: BLE001 - user code may raise anything
        stage.failed(error)
        return None


def _settle(acks: Iterable[Ack], status: Status) -> None:
    for ack in acks:
        ack.settle(status)
