"""What the log says of a step's rejects: each kind once."""

import structlog

from streamd.core.contracts import BadRecord
from streamd.core.errors import EnvironmentFault

log = structlog.get_logger()

MAX_KINDS = 16
"""Kinds told apart for each step: fewer lines than the log lets through at once."""


class StepLog:
    """Remembers which kinds of rejects of one step are in the log; a reload that keeps the step keeps it."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, pipeline: str, step: str, rejects: list[BadRecord]) -> None:
        """Log each reject of a kind that was not logged before."""
        for bad in rejects:
            if bad.kind and bad.kind not in self._said and len(self._said) < MAX_KINDS:
                self._said.add(bad.kind)
                self._say(pipeline, step, bad)

    def cannot_open(self, pipeline: str, step: str, fault: EnvironmentFault, error: BaseException) -> None:
        """Log why the object of a step could not be made, with the traceback."""
        log.error("step_cannot_open", pipeline=pipeline, step=step, why=str(fault), exc_info=error)

    def _say(self, pipeline: str, step: str, bad: BadRecord) -> None:
        said = "its records are in the dead letters; logged once for each kind and place"
        if len(self._said) == MAX_KINDS:
            said += f"; {MAX_KINDS} kinds are logged, others of this step are not"
        if bad.error is not None:
            log.error(
                "step_failed", pipeline=pipeline, step=step, error=bad.detail, hint=said, exc_info=bad.error
            )
        else:
            log.warning(
                "step_results_refused",
                pipeline=pipeline,
                step=step,
                reason=bad.reason,
                detail=bad.detail,
                hint=said,
            )
