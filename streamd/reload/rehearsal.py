"""Tries whether the new parts of a reload can be opened, before the reload changes anything."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from streamd.assembly import Assembly
from streamd.core.errors import EnvironmentFault, Place, StreamdError, Taken
from streamd.core.places import is_held
from streamd.reload.changes import Changes


async def rehearse(parts: Assembly, changes: Changes, holds: Sequence[Place]) -> None:
    """Raises `ConfigError` or `EnvironmentFault` if a new source, step or sink could not be opened.

    A place in `holds` is taken by this daemon itself, which passes it on, so it is no fault. The trials run
    in a thread and do not block the loop.
    """
    trials: list[Callable[[], Any]] = [
        *(parts.sinks[name].rehearse for name in changes.sinks["replaced"] + changes.sinks["added"]),
        *(parts.sources[name].rehearse for name in changes.sources["replaced"] + changes.sources["added"]),
        *(stage.step.rehearse for pipeline in parts.pipelines.values() for stage in pipeline.stages),
    ]
    refusals: list[StreamdError] = []
    for trial in trials:
        try:
            await asyncio.to_thread(trial)
        except Taken as taken:
            if not is_held(taken.place, holds):
                refusals.append(taken)
        except StreamdError as refusal:
            refusals.append(refusal)
    if len(refusals) == 1:
        raise refusals[0]
    if refusals:
        raise EnvironmentFault("\n".join(map(str, refusals)))
