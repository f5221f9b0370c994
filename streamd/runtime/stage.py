"""One step in its place in a pipeline: what its own code does reaches nobody else."""

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from streamd.core.ack import Ack
from streamd.core.batch import Record
from streamd.core.clock import read_clock
from streamd.core.contracts import BadRecord, Processed, Step
from streamd.core.errors import EnvironmentFault
from streamd.core.failure import failure_of
from streamd.core.hold import Claim, Holding
from streamd.core.now import Now
from streamd.runtime.offload import Offloaded
from streamd.runtime.step_log import StepLog

CLOSE_TIMEOUT_S = 3.0
"""How long a step's own `close` may wait for something."""


class Stage:
    """One step in its place; `name` is its stage in the books."""

    def __init__(
        self,
        name: str,
        step: Step[Any],
        before: "Stage | None" = None,
        clock: Callable[[], Now] = read_clock,
    ) -> None:
        """`before` is the same step's place in the pipeline that this one's takes over from."""
        self.name = name
        self.step = step
        self.offloaded: Offloaded | None = None
        if before is not None:
            self.offloaded = before.offloaded
        elif step.offload is not None:
            self.offloaded = Offloaded(step, step.offload, clock)
        self.log: StepLog = before.log if before is not None else StepLog()
        self.holding: Holding = before.holding if before is not None else Holding()
        self.may_hold = True
        """Whether the step is given holds. Not where each frame's fate is waited for before the next one."""

    def open(self) -> None:
        """Make what the step needs, unless it runs in other processes. Raises `EnvironmentFault`."""
        if self.step.offload is not None and self.step.offload.executor == "process":
            return
        try:
            self.step.open()
        except EnvironmentFault as fault:
            if fault.__cause__ is not None:
                self.log.cannot_open(self.step.context.pipeline, self.name, fault, fault.__cause__)
            raise

    async def close(self) -> None:
        """End what it has running, and what `open` has made. Never raises for what a step's own code does."""
        if self.offloaded is not None:
            await self.offloaded.close()
        self.holding.fail()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.step.close()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - a step is anybody's code
            self.failed(error)

    def process(self, records: list[Record], ack: Ack | None, now: Now) -> Processed:
        """Run a step that does not wait on records that have one ack. Whatever it does, they come back."""
        try:
            if ack is None or not self.may_hold:
                return self.step.process(records, now)
            with Claim(self.holding, ack):
                return self.step.process(records, now)
        except Exception as error:  # noqa: BLE001 - a step is anybody's code: its failure costs its records
            kind, detail = failure_of(error, self.step.context.base_dir)
            return Processed([], rejects=[BadRecord(r, "exception", detail, error, kind) for r in records])

    async def process_waiting(
        self, records: list[Record], ack: Ack | None, now: Now, begin: Callable[[], None]
    ) -> Processed:
        """The same for a step that waits; `begin` is called once it has a slot for the records."""
        offloaded = cast("Offloaded", self.offloaded)
        if ack is None or not self.may_hold:
            return await offloaded.process(records, now, begin)
        with Claim(self.holding, ack):
            return await offloaded.process(records, now, begin)

    async def tick(self, now: Now) -> Processed:
        """What the step makes of the time. What its own code raises is logged, and gives nothing."""
        try:
            if self.offloaded is not None:
                done = await self.offloaded.alone(partial(self.step.tick, now))
            else:
                done = self.step.tick(now)
            _check_made(done)
        except Exception as error:  # noqa: BLE001 - a step is anybody's code
            self.failed(error)
            done = Processed([])
        return done

    async def snapshot(self) -> bytes | None:
        """The state of the step. Raises what its own code raises, or `Lost`."""
        if self.offloaded is not None:
            state = await self.offloaded.alone(self.step.snapshot)
        else:
            state = self.step.snapshot()
        if state is not None and type(state) is not bytes:
            raise TypeError(f"snapshot returned {type(state).__name__} instead of bytes or None")
        return state

    async def restore(self, state: bytes, now: Now) -> None:
        """Give the opened step its state. Raises what its own code raises; the step is opened anew then."""
        try:
            if self.offloaded is not None:
                await self.offloaded.alone(partial(self.step.restore, state, now))
            else:
                self.step.restore(state, now)
        except Exception:
            await self.step.close()
            self.step.open()
            raise

    def next_deadline(self) -> float | None:
        """When the step is due (monotonic seconds); never again where its own code does not say so."""
        try:
            deadline = self.step.next_deadline()
            if deadline is None:
                return None
            return _checked_deadline(deadline)
        except Exception as error:  # noqa: BLE001 - a step is anybody's code
            self.failed(error)
            return None

    def failed(self, error: BaseException) -> None:
        """Log what the step raised when it was given no records."""
        context = self.step.context
        kind, detail = failure_of(error, context.base_dir)
        self.log.say(context.pipeline, self.name, [BadRecord({}, "exception", detail, error, kind)])


def _check_made(done: Processed) -> None:
    if not all(type(record) is dict for record in done.records):
        raise TypeError("tick made a record that is no dict")


def _checked_deadline(deadline: float) -> float:
    if math.isnan(deadline):
        raise ValueError("next_deadline is not a number")
    return float(deadline)
