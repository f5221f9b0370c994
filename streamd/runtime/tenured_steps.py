"""One instance of a step with state for each input that this process has claimed."""

from typing import Any

from streamd.core.ack import Ack
from streamd.core.contracts import Step
from streamd.core.now import Now
from streamd.core.tenure import Tenure


class TenuredSteps:
    """The instances of one step. So the state of an input is apart, and can go to another process.

    A step gets the time at which the input was stored, on both clocks, and is never ticked. So it makes the
    same results of the same records in each process and at each time.
    """

    def __init__(self, step: Step[Any]) -> None:
        self.step = step
        self.keeps_state = step.is_stateful
        self._own: dict[Tenure, Step[Any]] = {}
        self._known: dict[Tenure, int] = {}
        """The last part that the state contained with which the instance began."""

    def begin(self, tenure: Tenure, state: bytes, at_wall_s: float, known: int) -> None:
        """Make an instance for the tenure; `state` is what `Step.snapshot` returned, or empty.

        `known` is the number of the last part that the state contains. Raises any exception of the step's
        `restore`; then the instance has no state.
        """
        self._known[tenure] = known
        self._own[tenure] = own = self._opened()
        if state:
            try:
                own.restore(state, Now(at_wall_s, at_wall_s))
            except Exception:
                self._own[tenure] = self._opened()
                raise

    def _opened(self) -> Step[Any]:
        own: Step[Any] = type(self.step)(self.step.config, self.step.context)
        own.open()
        return own

    def of(self, tenure: Tenure) -> Step[Any] | None:
        """The instance for the tenure; None if it is over."""
        return self._own.get(tenure)

    async def end(self, tenure: Tenure) -> None:
        """Forget the instance of a tenure."""
        self._known.pop(tenure, None)
        own = self._own.pop(tenure, None)
        if own is not None:
            await own.close()

    async def close(self) -> None:
        """Forget all instances."""
        for tenure in list(self._own):
            await self.end(tenure)

    def choose(self, ack: Ack | None, now: Now) -> tuple[Step[Any] | None, Now]:
        """Which step processes the records of an ack, and the time for it.

        No step if another process has the input now, or if the state contained the part from the beginning of
        the tenure on: then nobody needs the result.
        """
        part = None if ack is None else ack.origin
        if part is None:
            return self.step, now
        if part.wall_s is not None:
            now = Now(part.wall_s, part.wall_s)
        if not (self.keeps_state and part.tenure.has_own_state):
            return self.step, now
        if part.number <= self._known.get(part.tenure, 0):
            return None, now
        return self._own.get(part.tenure), now
