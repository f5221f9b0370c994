"""What a step may ask about the sources of its pipeline."""

from collections.abc import Callable


def _none() -> int:
    return 0


class Upstream:
    """The sources of a pipeline, as its steps see them. The values change if a reload changes the sources."""

    __slots__ = ("connected_wall_s", "lost", "since_wall_s", "waiting")

    def __init__(
        self,
        waiting: Callable[[], int] = _none,
        lost: Callable[[], int] = _none,
        since_wall_s: float | None = None,
    ) -> None:
        self.waiting = waiting
        """The number of frames that wait in the buffers of the sources."""
        self.lost = lost
        """The number of frames and records that the books of the sources count as lost so far."""
        self.since_wall_s = since_wall_s
        """When the sources began to listen (wall clock, seconds): records sent before are missing. None if
        all sources continue where they stopped."""
        self.connected_wall_s: float | None = None
        """When the step was first connected; None if it never was."""
