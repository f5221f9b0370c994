"""What a source that reads inputs in parts may ask of the pipelines behind it."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from streamd.core.tenure import Tenure


class StartAt(NamedTuple):
    """From where an input is to be read."""

    number: int
    """The first part that is needed; 0 if the source knows best."""
    frames: int = 0
    """How many frames of this part are known already."""


async def _nothing(tenure: Tenure) -> StartAt:
    del tenure
    return StartAt(0)


class Downstream:
    """The pipelines that read a source. The values change if a reload changes the pipelines."""

    __slots__ = ("claim", "claims", "keeps_state", "on_kept", "release")

    def __init__(self) -> None:
        self.claim: Callable[[Tenure], Awaitable[StartAt]] = _nothing
        """Claim an input at all sinks for this process; returns what has to be read. Raises `SinkError`."""
        self.release: Callable[[Tenure], None] = lambda _: None
        """Forget an input whose tenure has ended."""
        self.claims: object = None
        """What answers now."""
        self.keeps_state = False
        """Whether a part is done only when the state of the steps behind it is stored, and not when its
        records are."""
        self.on_kept: Callable[[Tenure, StartAt], None] | None = None
        """Set by the source: called when a state is stored that contains the input up to there."""
