import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.columns import RecordColumns
from streamd.models.inputs import KINDS, ModelInput

HOSTILE: list[Any] = [
    None, "7", "", b"7", float("nan"), math.inf, -math.inf, 10**400, -(10**400), [], {}, [1.0], 1j, object(),
]  # fmt: skip


def tensor(
    type_name: str, rows: Sequence[Sequence[Any]], *, flat: bool = False
) -> tuple[Any, dict[int, str]]:
    """The tensor of records with the fields a, b, … and what is unusable."""
    names = tuple("abcd"[: len(rows[0])]) if rows else ("a",)
    records = [dict(zip(names, row, strict=True)) for row in rows]
    unusable: dict[int, str] = {}
    one = ModelInput("X", names, *KINDS[type_name], flat)
    return one.tensor(RecordColumns(records), unusable), unusable


def test_the_columns_of_a_tensor_have_the_order_of_the_fields() -> None:
    made, unusable = tensor("tensor(float)", [(1, 2.5), (True, -0.0), (3.0, 10**6)])
    assert (made.dtype, made.tolist(), unusable) == (np.float32, [[1, 2.5], [1, 0], [3, 10**6]], {})
    made, _ = tensor("tensor(double)", [(0.1, 2**53 + 0.0)])
    assert (made.dtype, made.tolist()) == (np.float64, [[0.1, 2.0**53]])


def test_a_tensor_of_one_dimension() -> None:
    assert tensor("tensor(float)", [(1,), (2,)], flat=True)[0].shape == (2,)
    assert tensor("tensor(float)", [(1,), (2,)])[0].shape == (2, 1)


@pytest.mark.parametrize("type_name", KINDS)
@pytest.mark.parametrize("flat", [True, False])
def test_no_record_is_a_tensor_too(type_name: str, flat: bool) -> None:
    made, unusable = tensor(type_name, [], flat=flat)
    assert (made.shape, made.dtype, unusable) == ((0,) if flat else (0, 1), KINDS[type_name][1], {})


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize(
    "type_name", ["tensor(float)", "tensor(double)", "tensor(float16)", "tensor(int64)", "tensor(uint8)"]
)
def test_a_value_that_is_no_finite_number_is_unusable_and_its_neighbours_are_not(
    type_name: str, value: Any
) -> None:
    made, unusable = tensor(type_name, [(1, 2), (3, value), (5, 6)])
    assert unusable == {1: "b"}
    assert made[0].tolist() == [1, 2]
    assert made[2].tolist() == [5, 6]
    assert made.dtype.kind != "f" or math.isnan(made[1, 1])


def test_a_missing_field_is_unusable() -> None:
    unusable: dict[int, str] = {}
    one = ModelInput("X", ("a", "b"), "number", "f4", flat=False)
    one.tensor(RecordColumns([{"b": 1.0}, {"a": 1.0, "b": None}, {"a": 1.0, "b": 2.0}]), unusable)
    assert unusable == {0: "a", 1: "b"}


def test_a_number_too_large_for_the_type_is_unusable() -> None:
    assert tensor("tensor(float)", [(1e39,), (3e38,)])[1] == {0: "a"}
    assert tensor("tensor(double)", [(1e39,)])[1] == {}
    assert tensor("tensor(float16)", [(70_000,), (60_000,)])[1] == {0: "a"}
    assert tensor("tensor(int8)", [(127,), (128,), (-128,), (-129,)])[1] == {1: "a", 3: "a"}
    assert tensor("tensor(uint8)", [(255,), (-1,)])[1] == {1: "a"}
    assert tensor("tensor(int64)", [(2**63 - 1,), (2**63,)])[1] == {1: "a"}
    made, unusable = tensor("tensor(uint64)", [(2**64 - 1,), (-1,)])
    assert (made[0].tolist(), unusable) == ([2**64 - 1], {1: "a"})


def test_whole_numbers_may_be_written_as_floats_and_booleans() -> None:
    made, unusable = tensor("tensor(int64)", [(5.0,), (True,), (5.5,), (1e300,)])
    assert (made.ravel().tolist(), unusable) == ([5, 1, 0, 0], {2: "a", 3: "a"})


def test_booleans_may_be_the_integers_of_sqlite() -> None:
    assert tensor("tensor(bool)", [(True,), (False,)])[0].tolist() == [[True], [False]]
    made, unusable = tensor("tensor(bool)", [(True,), (1,), (0,), (2,), (1.0,), ("true",), (None,)])
    assert made.ravel().tolist() == [True, True, False, False, False, False, False]
    assert unusable == dict.fromkeys([3, 4, 5, 6], "a")


def test_texts_are_texts_only() -> None:
    made, unusable = tensor("tensor(string)", [("a", "ü\0"), ("b", "")])
    assert (made.tolist(), unusable) == ([["a", "ü\0"], ["b", ""]], {})
    made, unusable = tensor("tensor(string)", [("a", 1), (None, "b"), ("c", "d")])
    assert (made.tolist(), unusable) == ([["a", ""], ["", "b"], ["c", "d"]], {0: "b", 1: "a"})


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.sampled_from([10**400, []])
)


@given(st.sampled_from(list(KINDS)), st.lists(VALUES, max_size=5))
def test_a_value_is_the_same_whatever_the_others_of_the_batch_are(type_name: str, values: list[Any]) -> None:
    together, unusable = tensor(type_name, [(value,) for value in values])
    for place, value in enumerate(values):
        alone, bad = tensor(type_name, [(value,)])
        assert bool(bad) == (place in unusable)
        assert np.array_equal(alone[0], together[place], equal_nan=alone.dtype.kind == "f")
