"""The pauses between retries."""

import random

FIRST_S = 0.1
MOST_S = 5.0
JITTER = 0.25
"""Each pause is longer by up to this part, so that several sinks do not try again at once."""


class Backoff:
    """Pauses that double from `first_s` to `most_s`, each with up to 25 % of jitter to spread retries."""

    def __init__(self, first_s: float = FIRST_S, most_s: float = MOST_S, seed: int | None = None) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s
        self._random = random.Random(seed)  # noqa: S311 - jitter needs no secure random numbers

    def next_s(self) -> float:
        """Seconds to wait before the next retry."""
        wait_s = self._next_s * (1 + self._random.random() * JITTER)
        self._next_s = min(self._most_s, self._next_s * 2)
        return wait_s

    def reset(self) -> None:
        """Begin again with the first pause, after a success."""
        self._next_s = self._first_s


def noticed_s(stalled_s: float, attempt_s: float) -> float:
    """When attempts notice that a fault of `stalled_s` has ended, with pauses of the mean length.

    Each attempt fails after `attempt_s`, and one under way at the end of the fault succeeds then.
    """
    mean = 1 + JITTER / 2
    begin_s, pause_s = 0.0, FIRST_S
    while begin_s + attempt_s < stalled_s:
        if pause_s == MOST_S:  # all other turns are alike, and a stall may last for days
            turn_s = attempt_s + MOST_S * mean
            begin_s += max(0, int((stalled_s - attempt_s - begin_s) // turn_s)) * turn_s
            if begin_s + attempt_s >= stalled_s:
                break
        begin_s += attempt_s + pause_s * mean
        pause_s = min(MOST_S, pause_s * 2)
    return max(begin_s, stalled_s)


def latest_notice_s(stalled_s: float) -> float:
    """The same at the latest, whatever an attempt takes: a whole pause with all its jitter comes last.

    The pauses before it were in the stall, so it is longer than these by the first pause at most.
    """
    return stalled_s + (1 + JITTER) * min(MOST_S, stalled_s + FIRST_S)
