"""The context that a user's class gets in its `open`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from streamd.core.counters import Counters
from streamd.core.now import Now
from streamd.functions.keyed_state import UNDER_WAY, KeyedState, StateChanges

COUNTED = "counted"
"""The counter of a step in which `count` counts; its reason is the name."""
MAX_NAMES = 100
"""Most names that one step counts, because each is a time series of its own."""
MOST_AT_ONCE = 2**53
"""The largest number that one call adds: larger whole numbers are not exact as JSON."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Context:
    """What a step offers to a user's class: `state` by key, the time `now`, and `count`.

    `name` is the place of the step in its pipeline, like `python[0]`, and `pipeline` the pipeline's name.
    """

    def __init__(
        self, name: str, pipeline: str, state: KeyedState, counters: Counters, *, why_no_state: str = ""
    ) -> None:
        """`why_no_state`: why the step has no state; empty if it has one."""
        self.name = name
        self.pipeline = pipeline
        self.kept = state
        """The state itself, for the step."""
        self._counters = counters
        self._why_no_state = why_no_state
        self._now: Now | None = None

    @property
    def state(self) -> KeyedState:
        """Values by key that survive restarts. Raises `RuntimeError` if the step can have none."""
        if self._why_no_state:
            raise RuntimeError(f"context.state: {self._why_no_state}")
        return self.kept

    @property
    def now(self) -> Now:
        """The time of the batch or tick: `now.wall_s` in seconds since 1970, and `now.mono_s` for durations.

        Tests and replays set it, so code that uses it gives the same results there. Raises `RuntimeError`
        before the first batch.
        """
        changes = UNDER_WAY.get()
        if changes is not None and changes.state is self.kept:
            return changes.now
        if self._now is None:
            raise RuntimeError("context.now is the time of a batch: it is not known in open")
        return self._now

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to a counter of your own, in `/metrics` as `streamd_step_counted_total{reason=NAME}`.

        A counter grows up to 2**60. Raises `ValueError` for a name that is not of the form `cold_start`, for
        a negative number or one above 2**53, and for more than 100 names.
        """
        if type(n) is not int or not 0 <= n <= MOST_AT_ONCE:
            raise ValueError(
                f"context.count({name!r}, {_shown(n)}): a counter grows by a whole number, 0 to 2**53"
            )
        if (COUNTED, name) not in self._counters:
            if str(name) != name or _NAME.fullmatch(name) is None:
                raise ValueError(f"context.count({name!r}): a name has a to z, digits and _, at most 64")
            if len(self._counters) >= MAX_NAMES:
                raise ValueError(f"context.count({name!r}): a step counts at most {MAX_NAMES} names")
        self._counters.add(COUNTED, n, name)

    @contextmanager
    def batch(self, now: Now) -> Iterator[StateChanges]:
        """The changes of the calls for a batch; inside, `now` and the state can be used."""
        if forgotten := self.kept.begin(now):
            self._counters.add("forgotten", forgotten)
        self._now = now
        changes = StateChanges(self.kept, now)
        token = UNDER_WAY.set(changes)
        try:
            yield changes
        finally:
            UNDER_WAY.reset(token)

    def put(self, changes: StateChanges) -> None:
        """Put the changes of a batch whose result is used into the state."""
        if forgotten := changes.state.put(changes.packed):
            self._counters.add("forgotten", forgotten)


def _shown(n: object) -> str:
    """The number for a message. Python makes no text of a whole number with thousands of digits."""
    return f"a number of {n.bit_length()} bits" if isinstance(n, int) and n.bit_length() > 64 else repr(n)  # noqa: PLR2004
