"""The key that decides which stored state fits which step."""

import hashlib
import json
from typing import Any, NamedTuple

from streamd.core.contracts import Step

FORMAT = 1
"""The version of streamd's format of a stored state. A row of another format is set aside."""


class StateKey(NamedTuple):
    """Identifies a state: a step is restored from a state with an equal key. Its place may change."""

    pipeline: str
    type: str
    config_hash: str
    """A hash of the step's `state_settings` and of its `code_digest`."""
    version: int
    """The version that the step declares for its snapshots."""
    format: int = FORMAT


def key_of(step: Step[Any]) -> StateKey:
    """The key of this step's state."""
    settings = json.dumps(step.state_settings(), sort_keys=True, default=repr)
    digest = hashlib.blake2b(f"{settings}\0{step.code_digest()}".encode(), digest_size=8)
    kind = step.context.name.partition("[")[0]
    return StateKey(step.context.pipeline, kind, digest.hexdigest(), step.state_version)


def why_not(row: StateKey, steps: list[StateKey]) -> str:
    """The reason why the state with the key `row` fits none of `steps`, the keys of all steps with state."""
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
        return f"the step has changed the version of its state (stored version {row.version})"
    return "there are fewer such steps than states"
