"""A step at its place in a pipeline. Failures of its code do not spread."""

import asyncio
import math
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from typing import Any, TypeVar, cast

from streamd.core.ack import Ack
from streamd.core.batch import Record
from streamd.core.clock import read_clock
from streamd.core.columns import FlatColumns
from streamd.core.contained import contained
from streamd.core.contracts import BadRecord, Processed, Step
from streamd.core.errors import EnvironmentFault
from streamd.core.failure import failure_of
from streamd.core.hold import Holding, HoldScope
from streamd.core.now import Now
from streamd.core.tenure import Tenure
from streamd.runtime.offload import Offloaded
from streamd.runtime.step_log import StepLog
from streamd.runtime.taps import Point
from streamd.runtime.tenured_steps import TenuredSteps
from streamd.runtime.turn import Turn

Result = TypeVar("Result")

TURN_BYTES = 4096
"""After so many bytes of a snapshot the event loop takes a turn."""
CLOSE_TIMEOUT_S = 3.0
"""Longest time of a step's own `close`."""


class Stage:
    """A step at its place in a pipeline; `name` is its stage in the books."""

    def __init__(
        self,
        name: str,
        step: Step[Any],
        before: "Stage | None" = None,
        clock: Callable[[], Now] = read_clock,
    ) -> None:
        """`before` is the stage of the same step in the pipeline that a reload replaces."""
        self.name = name
        self.step = step
        self.own = TenuredSteps(step)
        """Its instances for inputs that this process has claimed."""
        self.offloaded: Offloaded | None = None
        if before is not None:
            self.offloaded = before.offloaded
        elif step.offload is not None:
            self.offloaded = Offloaded(step, step.offload, clock)
        self.log: StepLog = before.log if before is not None else StepLog()
        self.holding: Holding = before.holding if before is not None else Holding()
        self.tap: Point | None = None
        """The point behind the step, while taps look there."""
        self.may_hold = True
        """Whether the step gets holds. False if the caller awaits the ack of each frame before the next."""

    def open(self) -> None:
        """Open the step, unless it runs in worker processes. Raises `EnvironmentFault`."""
        if self.step.offload is not None and self.step.offload.executor == "process":
            return
        try:
            self.step.open()
        except EnvironmentFault as fault:
            if fault.__cause__ is not None:
                self.log.cannot_open(self.step.context.pipeline, self.name, fault, fault.__cause__)
            raise

    async def close(self) -> None:
        """End the running calls and close the step. Logs the exceptions of the step's code."""
        if self.offloaded is not None:
            await self.offloaded.close()
        self.holding.fail()
        try:
            await self.own.close()
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.step.close()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - the user's code may raise anything
            self.failed(error)

    def process(self, records: list[Record], ack: Ack | None, now: Now) -> Processed:
        """Run a step that does not wait on records with one ack. If it raises, the records are rejected."""
        step, now = self.own.choose(ack, now)
        if step is None:
            return Processed([], filtered=len(records))
        try:
            if ack is None or not self.may_hold:
                return step.process(records, now)
            with HoldScope(self.holding, ack):
                return step.process(records, now)
        except BaseException as error:  # noqa: BLE001 - a failure of the user's code rejects its records
            return self._failed(records, error)

    def _failed(self, records: list[Record], error: BaseException) -> Processed:
        kind, detail = failure_of(error, self.step.context.base_dir)
        return Processed([], rejects=[BadRecord(r, "exception", detail, error, kind) for r in records])

    @property
    def reads_columns(self) -> bool:
        """Whether the step takes the columns of flat batches."""
        return self.step.reads_columns and self.offloaded is None

    def process_columns(self, columns: FlatColumns, ack: Ack | None, now: Now) -> Processed:
        """As `process`, for the columns of a flat batch."""
        step, now = self.own.choose(ack, now)
        if step is None:
            return Processed([], filtered=len(columns))
        try:
            if ack is None or not self.may_hold:
                return step.process_columns(columns, now)
            with HoldScope(self.holding, ack):
                return step.process_columns(columns, now)
        except BaseException as error:  # noqa: BLE001 - as in `process`
            return self._failed(columns.records(), error)

    async def process_waiting(
        self,
        records: list[Record],
        ack: Ack | None,
        now: Now,
        begin: Callable[[], None],
        entry: Turn | None,
    ) -> Processed:
        """As `process`, for a waiting step; `begin` is called when the step has a slot for the records.

        `entry` is the place of the records before the step.
        """
        offloaded = cast("Offloaded", self.offloaded)
        if ack is None or not self.may_hold:
            return await offloaded.process(records, now, begin, entry)
        with HoldScope(self.holding, ack):
            return await offloaded.process(records, now, begin, entry)

    async def tick(self, now: Now) -> Processed:
        """Tick the step. If its code raises an exception, that is logged and there are no records."""
        try:
            if self.offloaded is not None:
                done = await self.offloaded.tick(now)
            else:
                done = contained(partial(self.step.tick, now))
            _check_made(done)
        except Exception as error:  # noqa: BLE001 - the user's code may raise anything
            self.failed(error)
            done = Processed([])
        return done

    async def snapshot(self) -> bytes | None:
        """The state of the step. Raises the exceptions of the step's code, or `Lost`.

        The event loop takes turns between the parts of a large snapshot. Meanwhile no record may come to the
        step.
        """
        state: bytes | None
        if self.step.carried is not None and self.offloaded is not None:
            async with self.offloaded.idle():
                state = await _joined(self.step.snapshot_parts()) or None
        elif self.offloaded is not None:
            state = await self.offloaded.alone(partial(contained, self.step.snapshot))
        elif type(self.step).snapshot_parts is not Step.snapshot_parts:
            state = await _joined(self.step.snapshot_parts()) or None
        else:
            state = contained(self.step.snapshot)
        if state is not None and type(state) is not bytes:
            raise TypeError(f"snapshot returned {type(state).__name__} instead of bytes or None")
        return state

    async def snapshot_of(self, tenure: Tenure) -> bytes:
        """The state for an input; empty if there is none. Raises the exceptions of the step's code."""
        step = self.own.of(tenure)
        if step is None:
            return b""
        if type(step).snapshot_parts is not Step.snapshot_parts:
            return await _joined(step.snapshot_parts()) or b""
        return contained(step.snapshot) or b""

    async def restore(self, state: bytes, now: Now) -> None:
        """Give the opened step its state. If its code raises, opens the step anew and re-raises."""
        try:
            if self.offloaded is not None:
                await self.offloaded.alone(partial(contained, partial(self.step.restore, state, now)))
            else:
                contained(partial(self.step.restore, state, now))
        except Exception:
            await self.step.close()
            self.open()
            raise

    def next_deadline(self) -> float | None:
        """When the step is due (monotonic seconds); None if it is not due or its code raises."""
        try:
            source = self.step if self.offloaded is None else self.offloaded
            return contained(partial(_deadline_of, source.next_deadline))
        except Exception as error:  # noqa: BLE001 - the user's code may raise anything
            self.failed(error)
            return None

    def failed(self, error: BaseException) -> None:
        """Log an exception that the step raised outside of `process`."""
        context = self.step.context
        kind, detail = failure_of(error, context.base_dir)
        self.log.log_failure(context.pipeline, self.name, BadRecord({}, "exception", detail, error, kind))


def _check_made(done: Processed) -> None:
    if not all(type(record) is dict for record in done.records):
        raise TypeError("tick returned a record that is not a dict")


async def _joined(parts: Iterator[bytes]) -> bytes | None:
    whole = BytesIO()  # unlike b"".join, it does not copy all parts at once in the end
    turned = 0
    while (part := contained(partial(next, parts, None))) is not None:  # a part may be empty
        whole.write(part)
        if whole.tell() - turned >= TURN_BYTES:
            turned = whole.tell()
            await asyncio.sleep(0)
    return whole.getvalue() or None


def _deadline_of(ask: Callable[[], float | None]) -> float | None:
    deadline = ask()
    if deadline is None:
        return None
    if math.isnan(deadline):
        raise ValueError("next_deadline is not a number")
    return float(deadline)
