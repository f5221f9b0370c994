"""Unusual combinations of several values: one model of river for the pipeline."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streamd.anomalies.detector import Detector, KeyModel, Scores
from streamd.anomalies.limits import Learn, Limits
from streamd.anomalies.settings import OutlierMethod
from streamd.anomalies.sorted_window import SortedWindow
from streamd.core.finite import MOST
from streamd.learning import pickles
from streamd.learning.model import river

REMEMBERED = 1000
"""The last values of each field, which scale it, and the last scores, of which the quantile is taken."""
ONLY_SCALED = 50
"""The first rows only show the range of each field."""
_LOW, _HIGH = 0.01, 0.99
"""The quantiles of a field that become 0.1 and 0.9. Half-space trees divide the values from 0 to 1."""
_MARGIN = 0.1
_FARTHEST = 2.0
_CLASS: Mapping[OutlierMethod, str] = {"half_space_trees": "HalfSpaceTrees", "loda": "LODA"}


class OutlierModel(KeyModel):
    """The model of river, the last values of each field and the last scores."""

    __slots__ = ("learned", "ranges", "scores", "seen")

    def __init__(self, learned: Any, ranges: list[SortedWindow], scores: SortedWindow, seen: int) -> None:
        super().__init__()
        self.learned = learned
        self.ranges = ranges
        self.scores = scores
        self.seen = seen
        """Rows that were learned."""


class Outliers(Detector[OutlierModel]):
    """Scores rows of several values by half-space trees, or by projections into histograms (LODA).

    A row is unusual if its score is higher than the `quantile` of the last scores, or at least
    `limits.threshold` if there is no quantile. There is no band.
    """

    def __init__(
        self,
        limits: Limits,
        method: OutlierMethod,
        fields: Sequence[str],
        window: int,
        quantile: float | None,
        params: Mapping[str, int],
    ) -> None:
        """Raises `ConfigError` if river is not installed."""
        super().__init__(limits)
        self._class = getattr(river("anomaly", "method"), _CLASS[method])
        self._version = str(river(option="method").__version__)
        own = {"window_size": window} if method == "half_space_trees" else {}
        self._params = {"seed": 1} | own | dict(params)
        self._fields = tuple(fields)
        self._quantile = quantile
        self._fewest_scores = 0 if quantile is None else round(1 / (1 - quantile))
        # the trees have no score before the first window is full
        self._fewest_seen = max(limits.min_samples, window + ONLY_SCALED if own else 0)

    def new(self) -> OutlierModel:
        return self._model([[] for _ in self._fields], [], self._class(**self._params), 0)

    def _model(
        self, ranges: Iterable[Iterable[float]], scores: Iterable[float], learned: Any, seen: int
    ) -> OutlierModel:
        windows = [SortedWindow(REMEMBERED, values) for values in ranges]
        return OutlierModel(learned, windows, SortedWindow(REMEMBERED, scores), seen)

    def see_all(
        self, models: Sequence[OutlierModel | None], values: Sequence[Any], times: Iterable[float]
    ) -> Scores:
        """As `Detector.see_all`; each of the `values` is a row with the values of all fields."""
        found = Scores.none(len(values))
        for place, (model, row, _) in enumerate(zip(models, values, times, strict=True)):
            if model is None or not all(-MOST <= value <= MOST for value in row):
                found.unusable += 1
            else:
                found.flags[place], found.scores[place] = self._see(model, row)
        return found

    def _see(self, model: OutlierModel, row: Sequence[float]) -> tuple[bool | None, float | None]:
        x = dict(zip(self._fields, map(_scaled, row, model.ranges), strict=True))
        flag: bool | None = None
        score: float | None = None
        if model.seen >= self._fewest_seen:
            score = float(model.learned.score_one(x))
            flag = self._judge(model.scores, score)
        if not flag or self.limits.learn != "inside":
            for value, its in zip(row, model.ranges, strict=True):
                its.add(value)
            if model.seen >= ONLY_SCALED:
                model.learned.learn_one(x)
            model.seen += 1
        return flag, score if flag is not None else None

    def _judge(self, scores: SortedWindow, score: float) -> bool | None:
        """Whether the score is unusual; None while there are too few scores. Remembers what is learned."""
        if self._quantile is None:
            return score >= self.limits.threshold
        flag = score > scores.quantile(self._quantile) if len(scores.values) >= self._fewest_scores else None
        if not flag or self.limits.learn != "inside":
            scores.add(score)
        return flag

    def stored(self, model: OutlierModel) -> Any:
        windows = [its.in_order() for its in model.ranges]
        return self._version, windows, model.scores.in_order(), model.seen, pickles.dump(model.learned)

    def of_stored(self, stored: Any) -> OutlierModel:
        version, ranges, scores, seen, pickled = stored
        if version != self._version:
            raise ValueError(f"river {version} has stored the model, and {self._version} is installed")
        learned = pickles.load(pickled, _no_module)
        if type(learned) is not self._class or len(ranges) != len(self._fields) or type(seen) is not int:
            raise ValueError(f"it is no model of {self._class.__name__} of {len(self._fields)} fields")
        return self._model(ranges, scores, learned, seen)


def limits_of(threshold: float | None, min_samples: int | None, learn: Learn) -> Limits:
    """The limits of a detector of rows, which knows no band."""
    return Limits(threshold or 0.0, 0.0, min_samples or REMEMBERED // 2, learn)


def _scaled(value: float, its: SortedWindow) -> float:
    """The value in the range of its field: 0.1 to 0.9 for the usual ones."""
    if not its.values:
        return 0.5
    low, high = its.quantile(_LOW), its.quantile(_HIGH)
    if low == high:
        return 0.5 + 0.5 * ((value > low) - (value < low))
    return min(max(_MARGIN + (1 - 2 * _MARGIN) * (value - low) / (high - low), -_FARTHEST), _FARTHEST)


def _no_module(name: str) -> None:
    """The models of these methods have no class of the user's."""
    del name
