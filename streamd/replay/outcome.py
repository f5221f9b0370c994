"""What a replay says when it is over."""

from collections import Counter
from dataclasses import dataclass, field

from streamd.core.ack import Status


@dataclass(slots=True)
class Outcome:
    """What became of the letters of a plan. `impossible` counts those that could not go in, by reason."""

    fates: Counter[Status] = field(default_factory=Counter)
    impossible: Counter[str] = field(default_factory=Counter)
    unconfirmed: int = 0
    """Records of these that a sink has sent and nobody can say the peer has read."""
    differences: list[str] = field(default_factory=list)
    """What the books of the replay cannot account for; empty."""

    @property
    def done(self) -> int:
        """Letters whose fate is known."""
        return self.fates.total() + self.impossible.total()

    @property
    def gone(self) -> int:
        """Letters that were stored or filtered."""
        return self.fates[Status.DELIVERED] + self.fates[Status.FILTERED]
