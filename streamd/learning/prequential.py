"""How well a model did on the labels that have come, each predicted before it was learned."""

import difflib
import inspect
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

from streamd.core.errors import ConfigError
from streamd.learning.model import Kind, river

DEFAULT: dict[Kind, tuple[str, ...]] = {
    "classifier": ("Accuracy",),
    "regressor": ("MAE", "RMSE"),
    "detector": (),
}
"""The metrics of river that are kept without an option."""


class Prequential:
    """Some metrics of river, by name."""

    def __init__(self, names: Sequence[str], kind: Kind) -> None:
        """Raises `ConfigError` for a name that is no metric of such models."""
        metrics = river("metrics")
        base = metrics.base.ClassificationMetric if kind == "classifier" else metrics.base.RegressionMetric
        known = {
            name: found
            for name, found in vars(metrics).items()
            if inspect.isclass(found) and issubclass(found, base) and not inspect.isabstract(found)
        }
        self.metrics: dict[str, Any] = {}
        for index, name in enumerate(names):
            if kind == "detector":
                raise ConfigError(
                    "metrics compare with labels, and an anomaly detector has none", ("metrics",)
                )
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
                raise ConfigError(f"river.metrics has no {name!r} for a {kind}: {hint}", ("metrics", index))
            try:
                self.metrics[name] = known[name]()
            except TypeError as error:
                raise ConfigError(
                    f"river.metrics.{name} needs arguments: {error}", ("metrics", index)
                ) from None
        self.needs_probabilities = kind == "classifier" and not all(
            metric.requires_labels for metric in self.metrics.values()
        )
        """Whether a metric compares with the probabilities of the labels."""

    def update(self, label: Any, value: Any, probabilities: dict[Any, float] | None) -> None:
        """Compare a label with what was predicted. Nothing is compared if the model had no prediction."""
        if value is None:
            return
        for metric in self.metrics.values():
            if getattr(metric, "requires_labels", True):
                metric.update(label, value)
            elif probabilities:
                metric.update(label, probabilities)

    def take(self, stored: Any) -> bool:
        """Go on with the stored metrics of the same names and classes; whether these are all, and no others.

        Raises ValueError for what is no collection of metrics.
        """
        if not isinstance(stored, dict):
            raise ValueError("the stored metrics are no dict")  # noqa: TRY004 - a wrong value of a state
        for name, metric in self.metrics.items():
            if type(stored.get(name)) is type(metric):
                self.metrics[name] = stored[name]
        return self.metrics == stored

    def values(self) -> Iterator[tuple[str, float]]:
        """Each metric that is a finite number."""
        for name, metric in self.metrics.items():
            try:
                value = float(metric.get())
            except ZeroDivisionError:  # nothing compared yet
                continue
            if isfinite(value):
                yield name, value
