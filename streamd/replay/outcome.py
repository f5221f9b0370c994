"""The result of a replay."""

from collections import Counter
from dataclasses import dataclass, field

from streamd.core.ack import Status


@dataclass(slots=True)
class Outcome:
    """The fates of the letters of a plan. `impossible` counts letters that could not be sent, by reason."""

    fates: Counter[Status] = field(default_factory=Counter)
    impossible: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    """Letters that stay because a step still kept records of them at the end, by step."""
    unconfirmed: int = 0
    """Records that a sink has sent without knowing whether the peer read them."""
    differences: list[str] = field(default_factory=list)
    """Differences in the books of the replay. Empty unless streamd has a fault."""

    @property
    def done(self) -> int:
        """Letters whose fate is known."""
        return self.fates.total() + self.held.total() + self.impossible.total()

    @property
    def gone(self) -> int:
        """Letters that were stored or filtered."""
        return self.fates[Status.DELIVERED] + self.fates[Status.FILTERED]
