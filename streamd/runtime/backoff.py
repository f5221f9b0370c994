"""How long to wait before the next try."""

import random


class Backoff:
    """Doubling from `first_s` to `most_s`, each with up to a quarter of jitter, so that retries spread."""

    def __init__(self, first_s: float = 0.1, most_s: float = 5.0, seed: int | None = None) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s
        self._random = random.Random(seed)  # noqa: S311 - jitter guards against herds, not against people

    def next_s(self) -> float:
        """Seconds until the next try."""
        wait_s = self._next_s * (1 + self._random.random() / 4)
        self._next_s = min(self._most_s, self._next_s * 2)
        return wait_s

    def reset(self) -> None:
        """It worked: begin anew."""
        self._next_s = self._first_s
