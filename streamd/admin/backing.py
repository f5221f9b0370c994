"""What the protected routes need from the daemon."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from streamd.config import Loaded


@dataclass(slots=True, frozen=True)
class Backing:
    """The present configuration, and the work that a client may ask for.

    `tests` and `replay` raise `ConfigError` or `EnvironmentFault`. They limit their own time.
    """

    loaded: Callable[[], Loaded]
    tests: Callable[[], Awaitable[dict[str, Any]]]
    """Runs the tests of the configuration: the numbers `passed` and `failed`, and the `report` as text."""
    replay: Callable[[Sequence[int]], Awaitable[dict[str, Any]]]
    """Replays the dead letters with these numbers. Returns the outcome by fate."""
