from math import isnan
from typing import Any

import pytest

from streamd.core.finite import MOST, finite


@pytest.mark.parametrize("value", [0, 1.5, -3, 10**149, -MOST, 5e-324])
def test_a_number_is_a_float(value: Any) -> None:
    found = finite(value)
    assert (type(found), found) == (float, float(value))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        "1",
        float("nan"),
        float("inf"),
        -float("inf"),
        10**151,
        -(10**400),
        1.1e150,
        [1],
        {},
    ],
)
def test_anything_else_is_not_a_number(value: Any) -> None:
    assert isnan(finite(value))
