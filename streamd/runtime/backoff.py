"""The pauses between retries."""

import random


class Backoff:
    """Pauses that double from `first_s` to `most_s`, each with up to 25 % of jitter to spread retries."""

    def __init__(self, first_s: float = 0.1, most_s: float = 5.0, seed: int | None = None) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s
        self._random = random.Random(seed)  # noqa: S311 - jitter needs no secure random numbers

    def next_s(self) -> float:
        """Seconds to wait before the next retry."""
        wait_s = self._next_s * (1 + self._random.random() / 4)
        self._next_s = min(self._most_s, self._next_s * 2)
        return wait_s

    def reset(self) -> None:
        """Begin again with the first pause, after a success."""
        self._next_s = self._first_s
