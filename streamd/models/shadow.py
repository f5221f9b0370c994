"""How often two models agree on the same records."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from streamd.models.onnx import Array
from streamd.models.scorer import ModelScores


def agreement(
    one: ModelScores, other: ModelScores, labels: Sequence[bool], tolerance: float | None
) -> tuple[int, int]:
    """How many records two models agree on, and on how many they differ.

    `labels` says of each output whether it is a label. The models agree on a record if its labels are equal
    and, with a tolerance, its numbers differ by at most that.
    """
    if one.failed or other.failed or len(one.places) != len(other.places):
        both = np.intersect1d(one.places, other.places)
        one, other = _chosen(one, both), _chosen(other, both)
    if not len(one.places):
        return 0, 0
    same = np.ones(len(one.places), bool)
    for is_label, left, right in zip(labels, one.values, other.values, strict=True):
        if is_label:
            equal = left == right
        elif tolerance is None:
            continue
        else:
            equal = _near(left, right, tolerance)
        same &= equal if equal.ndim == 1 else equal.all(axis=1)
    agreed = int(same.sum())
    return agreed, len(same) - agreed


def _near(left: Array, right: Array, tolerance: float) -> Array:
    """Whether numbers differ by at most the tolerance. NaN is near NaN, and an infinity near itself."""
    with np.errstate(invalid="ignore", over="ignore"):
        near: Array = np.abs(left - right) <= tolerance
    near |= (left == right) | (np.isnan(left) & np.isnan(right))
    return near


def _chosen(scores: ModelScores, places: Any) -> ModelScores:
    rows = np.searchsorted(np.asarray(scores.places), places)
    return ModelScores(scores.digest, places, [values[rows] for values in scores.values])
