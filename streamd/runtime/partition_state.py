"""The state of the steps of a pipeline for one input, as it is stored at a sink."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog

from streamd.core.contracts import Step
from streamd.core.failure import failure_of
from streamd.core.tenure import Tenure
from streamd.runtime.stage import Stage

log = structlog.get_logger()

Digest = Callable[[Step[Any]], str]
"""A text that differs for steps whose states do not fit each other."""


class PartitionState(NamedTuple):
    """Contains all parts up to `number`, and nothing of the next one."""

    number: int
    at_wall_s: float
    """When the part `number` was stored in the input."""
    steps: list[tuple[str, bytes]]
    """The digest and the state of each step that keeps one, in their order."""


NOTHING = PartitionState(0, 0.0, [])


def decoded(stored: bytes | None, tenure: Tenure) -> PartitionState:
    """What `encoded` made. Bytes of another version of streamd are left out, and logged."""
    if stored is None:
        return NOTHING
    try:
        return msgspec.msgpack.decode(stored, type=PartitionState)
    except msgspec.DecodeError as error:
        _left_out(tenure, "", f"another version of streamd has written it ({error})")
        return NOTHING


def encoded(state: PartitionState) -> bytes:
    """The bytes to be stored."""
    return msgspec.msgpack.encode(state)


async def begin(stages: Sequence[Stage], tenure: Tenure, state: PartitionState, digest: Digest) -> None:
    """Make the instances of the steps for a tenure. A state that does not fit is left out, and logged."""
    left = list(state.steps)
    for stage in stages:
        found = next((one for one in left if one[0] == digest(stage.step)), None)
        if found is not None:
            left.remove(found)
        try:
            stage.own.begin(tenure, b"" if found is None else found[1], state.at_wall_s, state.number)
        except Exception as error:  # noqa: BLE001 - user code may raise anything
            _left_out(tenure, stage.name, failure_of(error, stage.step.context.base_dir).text)
    for _, content in left:
        if content:
            _left_out(tenure, "", "no step has the settings and the code of the one that has made it")


def _left_out(tenure: Tenure, step: str, why: str) -> None:
    log.error(
        "partition_state_left_out",
        input=tenure.sequence,
        step=step,
        why=why,
        hint="the step goes on without what it knew of this partition",
    )


async def snapshot(
    stages: Sequence[Stage], tenure: Tenure, number: int, at_wall_s: float, digest: Digest
) -> PartitionState | None:
    """The states of a tenure, while no batch is under way. None if a step has none to give."""
    steps = []
    for stage in stages:
        try:
            steps.append((digest(stage.step), await stage.snapshot_of(tenure)))
        except Exception as error:  # noqa: BLE001 - user code may raise anything
            stage.failed(error)
            return None
    return PartitionState(number, at_wall_s, steps)
