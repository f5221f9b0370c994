"""Closes the components of a daemon. A component that fails or hangs does not keep the others open."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

import structlog

log = structlog.get_logger()

CLOSE_TIMEOUT_S = 3.0
"""Longest time in which a component closes after the drain, because a disk may hang for ever."""


async def close_all(closing: Iterable[Coroutine[Any, Any, None]]) -> bool:
    """Await each coroutine in turn, at most `CLOSE_TIMEOUT_S` each; returns whether one hung. Logs errors."""
    hung = False
    for part in closing:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await part
        except TimeoutError:
            hung = True
            log.error("close_timeout", timeout_s=CLOSE_TIMEOUT_S)  # noqa: TRY400 - a traceback adds nothing
        except Exception as error:
            log.exception("close_failed", error=repr(error))
    return hung
