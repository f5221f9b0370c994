"""Predictions that wait for their labels, in bounded memory."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from streamd.core.generations import Generations
from streamd.core.record_key import Key


class Predicted(NamedTuple):
    """A prediction and the features that it was made of."""

    at_s: float
    """The reading of the arrival clock."""
    x: dict[str, Any]
    value: Any
    """The label or number; None if the model had none."""
    probabilities: dict[Any, float] | None


class Waiting:
    """The newest prediction of each key, until its label comes or `wait_s` has passed."""

    def __init__(self, most: int, wait_s: float) -> None:
        self.kept = Generations[Predicted](most, wait_s)
        self._wait_s = wait_s
        self.forgotten = Counter[str]()
        """Predictions that were forgotten without their label, by the reason. The user takes them."""

    def turn(self, at_s: float) -> None:
        """Called before each batch: forget what has waited too long."""
        self.forgotten["wait"] += len(self.kept.turn(at_s))

    def remember(self, key: Key, predicted: Predicted) -> None:
        """Keep a prediction in place of an earlier one with this key."""
        kept = self.kept
        if kept.newer.pop(key, None) or kept.older.pop(key, None):
            self.forgotten["replaced"] += 1
        elif len(kept.newer) >= kept.half:
            self.forgotten["max_waiting"] += len(kept.make_room(predicted.at_s))
        kept.newer[key] = predicted

    def take(self, key: Key, at_s: float) -> Predicted | None:
        """The prediction of the key, which is no longer kept; None if there is none in time."""
        kept = self.kept
        found = kept.newer.pop(key, None) or kept.older.pop(key, None)
        if found is not None and at_s - found.at_s > self._wait_s:
            self.forgotten["wait"] += 1
            return None
        return found

    def put(self, at_s: float) -> None:
        """Called after each batch."""
        self.kept.put(at_s)

    def counts(self) -> Iterator[tuple[str, int]]:
        """What was forgotten since the last call, by the reason."""
        counted, self.forgotten = self.forgotten, Counter()
        yield from ((reason, n) for reason, n in counted.items() if n)


def stored(predicted: Predicted, at_s: float) -> Any:
    """A prediction for a snapshot taken at `at_s`."""
    probabilities = predicted.probabilities
    pairs = None if probabilities is None else list(probabilities.items())
    return at_s - predicted.at_s, predicted.x, predicted.value, pairs


def of_stored(entry: Any) -> Predicted:
    """The prediction of a snapshot; the clock stands at 0. Raises ValueError or TypeError for another one."""
    age_s, x, value, pairs = entry
    if not isinstance(x, dict):
        raise TypeError("the features are no object")
    return Predicted(-float(age_s), x, value, None if pairs is None else dict(pairs))
