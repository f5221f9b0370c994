"""What can go wrong with a batch that is run elsewhere."""

import asyncio
from typing import Any


class Lost(Exception):  # noqa: N818 - a verdict on a batch, not a fault of the program
    """A batch did not come back from where it was run.

    `reason` is `timeout`, `hung`, `worker_died`, `bad_result` or `exception`; `detail` is free text. Where an
    exception is to blame `error` holds it, and `kind` is as in `BadRecord`.
    """

    def __init__(self, reason: str, detail: str, error: BaseException | None = None, kind: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.error = error
        self.kind = kind


class Unended:
    """Calls that ran out of time and cannot be ended; where `bound` of them hang, no more is started."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.count = 0

    def add(self, call: "asyncio.Future[Any]") -> None:
        """Count the call until it ends after all."""
        self.count += 1
        call.add_done_callback(self._ended)

    def check(self) -> None:
        """Raises `Lost` where the bound is reached."""
        if self.count >= self.bound:
            raise Lost("hung", f"{self.count} calls that ran out of time have still not ended")

    def _ended(self, call: "asyncio.Future[Any]") -> None:
        self.count -= 1
        if not call.cancelled():
            call.exception()  # taken note of, so that nobody warns of it
