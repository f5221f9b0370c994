from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from streamd.models.scorer import ModelScores
from streamd.models.shadow import agreement


def scores(
    *values: Any, places: Sequence[int] | None = None, failed: dict[int, str] | None = None
) -> ModelScores:
    arrays = [np.array(one) for one in values]
    return ModelScores("", range(len(arrays[0])) if places is None else places, arrays, failed or {})


def test_labels_are_equal_or_not() -> None:
    one, other = scores([1, 2, 3], [0.1, 0.2, 0.3]), scores([1, 2, 4], [0.9, 0.2, 0.3])
    assert agreement(one, other, [True, False], None) == (2, 1)
    assert agreement(one, other, [True, False], 0.5) == (1, 2)
    assert agreement(scores(["a", "b"]), scores(["a", "c"]), [True], None) == (1, 1)


@pytest.mark.parametrize(
    ("left", "right", "agreed"),
    [
        (1.0, 1.25, 1), (1.25, 1.0, 1), (1.0, 1.26, 0), (np.nan, np.nan, 1), (np.nan, 1.0, 0),
        (1.0, np.nan, 0), (np.inf, np.inf, 1), (np.inf, -np.inf, 0), (1e308, -1e308, 0),
    ],
)  # fmt: skip
def test_numbers_are_near_or_not(left: float, right: float, agreed: int) -> None:
    assert agreement(scores([left]), scores([right]), [False], 0.25) == (agreed, 1 - agreed)


def test_all_columns_of_a_row_count() -> None:
    assert agreement(scores([[0.1, 0.9], [0.5, 0.5]]), scores([[0.1, 0.9], [0.5, 0.9]]), [False], 0.1) == (
        1,
        1,
    )


def test_only_records_that_both_have_scored_are_compared() -> None:
    one = scores([1, 2, 3], places=[0, 2, 5], failed={4: "x"})
    other = scores([2, 9, 5], places=[2, 4, 5], failed={0: "x"})
    assert agreement(one, other, [True], None) == (1, 1)
    nothing = ModelScores("", [], [], {0: "x", 2: "x", 4: "x", 5: "x"})
    assert agreement(one, nothing, [True], None) == (0, 0)
    assert agreement(nothing, one, [True], None) == (0, 0)
