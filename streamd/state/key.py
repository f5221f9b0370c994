"""Which stored state fits which step."""

import hashlib
import json
from typing import Any, NamedTuple

from streamd.core.contracts import Step

FORMAT = 1
"""How streamd itself stores a state. A row of another format is set aside."""


class StateKey(NamedTuple):
    """What must be the same for a state to be given to a step; its place among the steps may change."""

    pipeline: str
    type: str
    config_hash: str
    """Of the step's settings, and of its code where it says that this matters."""
    version: int
    """The step's own version of its snapshots."""
    format: int = FORMAT


def key_of(step: Step[Any]) -> StateKey:
    """The key of a step in its pipeline."""
    settings = json.dumps(step.config.model_dump(mode="json"), sort_keys=True, default=repr)
    digest = hashlib.blake2b(f"{settings}\0{step.code_digest()}".encode(), digest_size=8)
    kind = step.context.name.partition("[")[0]
    return StateKey(step.context.pipeline, kind, digest.hexdigest(), step.state_version)


def why_not(row: StateKey, steps: list[StateKey]) -> str:
    """Why the state of `row` fits none of these steps, which are all that there are, in words."""
    here = [key for key in steps if key.pipeline == row.pipeline]
    alike = [key for key in here if key.type == row.type]
    if not here:
        return f"pipeline {row.pipeline} has no step with state"
    if not alike:
        return f"pipeline {row.pipeline} has no step of type {row.type} that keeps state"
    if all(key.config_hash != row.config_hash for key in alike):
        return "the settings or the code of the step have changed"
    if all(key.format != row.format for key in alike):
        return f"another version of streamd stored it (format {row.format})"
    if all(key.version != row.version for key in alike):
        return f"the step stores its state in another way now (version {row.version})"
    return "there are fewer such steps than states"
