"""Failures of batches that run outside of the worker's own task."""

import asyncio
from typing import Any


class Lost(Exception):  # noqa: N818 - a verdict on a batch, not a fault of the program
    """A batch did not come back from its thread, process or task.

    `reason` is `timeout`, `hung`, `worker_died`, `bad_result`, `unsupported` or `exception`; `detail` is a
    free text. If an exception is the cause, `error` holds it and `kind` is as in `BadRecord`.
    """

    def __init__(self, reason: str, detail: str, error: BaseException | None = None, kind: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.error = error
        self.kind = kind


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
