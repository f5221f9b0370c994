"""Models of river over several fields, as a configuration of the step `river` names them."""

from typing import Any

from river import anomaly, preprocessing


def half_space_trees() -> Any:
    return preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=42)


def loda() -> Any:
    return preprocessing.MinMaxScaler() | anomaly.LODA(seed=42)
