"""Logs the rejects of steps, each kind once."""

import structlog

from streamd.core.contracts import BadRecord
from streamd.core.errors import EnvironmentFault

log = structlog.get_logger()

MAX_KINDS = 16
"""Most kinds that are logged for each step. The rate limit of the log allows more lines at once."""


class StepLog:
    """Remembers which kinds of rejects of a step are logged. A reload that keeps the step keeps the log."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def log_rejects(self, pipeline: str, step: str, rejects: list[BadRecord]) -> None:
        """Log each reject whose kind was not logged before."""
        for bad in rejects:
            self._log(pipeline, step, bad, "its records are in the dead letters; ")

    def log_failure(self, pipeline: str, step: str, bad: BadRecord) -> None:
        """Log an exception for which no record was rejected, if its kind was not logged before."""
        self._log(pipeline, step, bad, "")

    def cannot_open(self, pipeline: str, step: str, fault: EnvironmentFault, error: BaseException) -> None:
        """Log why the object of a step could not be made, with the traceback."""
        log.error("step_cannot_open", pipeline=pipeline, step=step, why=str(fault), exc_info=error)

    def _log(self, pipeline: str, step: str, bad: BadRecord, records: str) -> None:
        if not bad.kind or bad.kind in self._logged or len(self._logged) == MAX_KINDS:
            return
        self._logged.add(bad.kind)
        hint = f"{records}logged once for each kind and place"
        if len(self._logged) == MAX_KINDS:
            hint += f"; {MAX_KINDS} kinds are logged, others of this step are not"
        if bad.error is not None:
            log.error(
                "step_failed", pipeline=pipeline, step=step, error=bad.detail, hint=hint, exc_info=bad.error
            )
        else:
            log.warning(
                "step_results_refused",
                pipeline=pipeline,
                step=step,
                reason=bad.reason,
                detail=bad.detail,
                hint=hint,
            )
