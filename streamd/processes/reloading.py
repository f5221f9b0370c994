"""A reload of all processes: none begins before each has tried it."""

import asyncio
from collections.abc import Sequence

import structlog

from streamd.core.errors import StreamdError
from streamd.processes.child import LedProcess
from streamd.reload.changes import Changes

log = structlog.get_logger()


async def rehearsed(children: Sequence[LedProcess]) -> Changes:
    """What a reload would change. Raises the refusal of a process."""
    return (await asyncio.gather(*(child.reload(dry_run=True) for child in children)))[0]


async def reload_each(children: Sequence[LedProcess]) -> None:
    """Reload every process. One that fails now is stopped: its successor has the new configuration."""
    outcomes = await asyncio.gather(
        *(child.reload(dry_run=False) for child in children), return_exceptions=True
    )
    for child, outcome in zip(children, outcomes, strict=True):
        if isinstance(outcome, StreamdError):
            log.error("process_not_reloaded", process=child.assignment.number, why=str(outcome))
            child.stop(is_last=False)
        elif isinstance(outcome, BaseException):
            raise outcome
