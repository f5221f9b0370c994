"""What a source that reads inputs in parts may ask of the pipelines behind it."""

from collections.abc import Awaitable, Callable

from streamd.core.tenure import Tenure


async def _nothing(tenure: Tenure) -> int:
    del tenure
    return 0


class Downstream:
    """The pipelines that read a source. The values change if a reload changes the pipelines."""

    __slots__ = ("claim", "claims", "keeps_state", "on_kept", "release")

    def __init__(self) -> None:
        self.claim: Callable[[Tenure], Awaitable[int]] = _nothing
        """Claim an input at all sinks for this process; returns the number of the first part that has to be
        read, 0 if the source knows best. Raises `SinkError`."""
        self.release: Callable[[Tenure], None] = lambda _: None
        """Forget an input whose tenure has ended."""
        self.claims: object = None
        """What answers now."""
        self.keeps_state = False
        """Whether a part is done only when the state of the steps behind it is stored, and not when its
        records are."""
        self.on_kept: Callable[[Tenure, int], None] | None = None
        """Set by the source: called when states are stored that contain all parts up to this number."""
