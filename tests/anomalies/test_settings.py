from typing import Any

import pytest
from pydantic import ValidationError

from streamd.anomalies.settings import AnomalySettings

TREES: dict[str, Any] = {"method": "half_space_trees", "fields": ["a", "b"]}
LODA: dict[str, Any] = {"method": "loda", "fields": ["a", "b"]}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (TREES | {"key": ["k"]}, "'key' belongs to ewma, hampel, quantile and seasonal, not to"),
        (TREES | {"field": "a"}, "'field' belongs to"),
        (TREES | {"min_width": 1.0}, "'min_width' belongs to"),
        (TREES | {"fields": None}, "half_space_trees needs the fields of a record, like fields"),
        (TREES | {"fields": []}, "at least 1 item"),
        (TREES | {"fields": ["a", "a"]}, "'a' occurs twice"),
        (TREES | {"quantile": 0.99, "threshold": 0.9}, "not by both"),
        (TREES | {"quantile": 1.0}, "less than or equal to 0.999"),
        (TREES | {"params": {"trees": 3}}, "has no param 'trees': it has n_trees, height, seed"),
        (TREES | {"params": {"height": 16}}, "height of half_space_trees is a number from 1 to 15"),
        (TREES | {"params": {"n_trees": 0}}, "n_trees of half_space_trees is a number from 1"),
        (LODA | {"window": 10}, "'window' belongs to hampel, quantile and half_space_trees, not to loda"),
        (LODA | {"half_life": 10}, "'half_life' belongs to"),
        ({"fields": ["a"]}, "'fields' belongs to half_space_trees and loda, not to ewma"),
        ({"field": "a", "quantile": 0.9}, "'quantile' belongs to"),
        ({"method": "hampel"}, 'hampel needs a field with the value: field = "value"'),
    ],
)  # fmt: skip
def test_options_that_do_not_suit_the_method_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        AnomalySettings.model_validate(options)
