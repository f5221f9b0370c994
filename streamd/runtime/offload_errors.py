"""Failures of batches that run outside of the worker's own task."""

import asyncio
from typing import Any

import structlog

from streamd.core.batch import Record
from streamd.core.contracts import BadRecord, Processed, StepContext

log = structlog.get_logger()


class Lost(Exception):  # noqa: N818 - a verdict on a batch, not a fault of the program
    """A batch did not come back from its thread, process or task.

    `reason` is `timeout`, `hung`, `worker_died`, `bad_result`, `memory` or `exception`; `detail` is a free
    text. If an exception is the cause, `error` holds it and `kind` is as in `BadRecord`. `cost_process` says
    that the batch has cost its worker process, so that another one may survive a part of the batch. With
    `is_of_age`, a new process may even survive the whole: earlier batches may have used up the memory.
    """

    def __init__(
        self,
        reason: str,
        detail: str,
        error: BaseException | None = None,
        kind: str = "",
        *,
        cost_process: bool = False,
        is_of_age: bool = False,
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.cost_process = cost_process
        self.is_of_age = is_of_age
        self.reason = reason
        self.detail = detail
        self.error = error
        self.kind = kind


def lost_batch(records: list[Record], lost: Lost, context: StepContext) -> Processed:
    """All records as rejects, which is logged."""
    log.warning(
        "step_batch_lost",
        pipeline=context.pipeline,
        step=context.name,
        reason=lost.reason,
        detail=lost.detail,
        records=len(records),
    )
    return all_rejected(records, lost.reason, lost.detail, lost.error, lost.kind)


def all_rejected(
    records: list[Record], reason: str, detail: str, error: BaseException | None, kind: str
) -> Processed:
    """All records as rejects."""
    return Processed([], rejects=[BadRecord(record, reason, detail, error, kind) for record in records])


class Unended:
    """Counts calls that ran out of time and have not ended. At `bound` of them, no more calls are started."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.count = 0

    def add(self, call: "asyncio.Future[Any]") -> None:
        """Count the call until it ends."""
        self.count += 1
        call.add_done_callback(self._ended)

    def check(self) -> None:
        """Raises `Lost` if the bound is reached."""
        if self.count >= self.bound:
            raise Lost("hung", f"{self.count} calls that ran out of time have still not ended")

    def _ended(self, call: "asyncio.Future[Any]") -> None:
        self.count -= 1
        if not call.cancelled():
            call.exception()  # marks it as retrieved, so asyncio logs no warning
