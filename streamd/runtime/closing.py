"""The end of the parts of a daemon, none of which may keep the others from ending."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

import structlog

log = structlog.get_logger()

CLOSE_TIMEOUT_S = 3.0
"""How long one part may take to close once everything is drained; a hung disk must not keep us for ever."""


async def close_all(closing: Iterable[Coroutine[Any, Any, None]]) -> bool:
    """Await each in turn, none for longer than `CLOSE_TIMEOUT_S`; whether one hung. Faults are logged."""
    hung = False
    for part in closing:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await part
        except TimeoutError:
            hung = True
            log.error("close_timeout", timeout_s=CLOSE_TIMEOUT_S)  # noqa: TRY400 - the trace says nothing
        except Exception as error:
            log.exception("close_failed", error=repr(error))
    return hung
