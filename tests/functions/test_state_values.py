from collections import Counter, defaultdict, deque
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.functions.state_values import (
    MAX_KEY_BYTES,
    MAX_VALUE_BYTES,
    BadState,
    packed,
    plain_key,
    unpacked,
)


class Color(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Own:
    pass


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.binary(max_size=20)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 9) | st.text("ab"), inner, max_size=4)
    ),
    max_leaves=20,
)


def again_of(value: Any) -> Any:
    data = packed(value, "k")
    return {} if data is None else unpacked(data)


@given(VALUES)
def test_what_is_read_again_equals_what_was_put(value: Any) -> None:
    again = again_of(value)
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize(
    ("value", "again"),
    [
        ((1, 2.5), [1, 2.5]),
        ({"pair": (1, ("a", None))}, {"pair": [1, ["a", None]]}),
        (np.float64(2.5), 2.5),
        (
            {"mean": np.float32(0.5), "n": np.int64(3), "ok": np.bool_(True)},
            {"mean": 0.5, "n": 3, "ok": True},
        ),
        ([Color.RED, Level.LOW], ["red", 1]),
        ({1: 2, -5: 3}, {1: 2, -5: 3}),
    ],
)
def test_a_few_other_values_become_plain_ones(value: Any, again: Any) -> None:
    found = again_of(value)
    assert found == again
    assert repr(found) == repr(again)  # of the same types


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (Own(), "context.state['s-1']: a tests.Own cannot be stored"),
        ({"a": {"b": [1, Own()]}}, "context.state['s-1']['a']['b'][1]: a tests.Own cannot be stored"),
        (np.zeros(3), "a numpy.ndarray cannot be stored"),
        (deque([1]), "a collections.deque cannot be stored"),
        (Counter(), "a collections.Counter cannot be stored"),
        (defaultdict(int), "a collections.defaultdict cannot be stored"),
        ({1, 2}, "a set cannot be stored"),
        (datetime(2026, 1, 1, tzinfo=UTC), "a datetime.datetime cannot be stored"),
        (1j, "a complex cannot be stored"),
        (bytearray(b"x"), "a bytearray cannot be stored"),
        (2**64, "a whole number beyond 64 bits cannot be stored"),
        ({"n": -(2**63) - 1}, "a whole number beyond 64 bits cannot be stored"),
        ("\ud800", "half of a surrogate pair cannot be stored"),
        ({"\ud800": 1}, "half of a surrogate pair cannot be stored"),
        ({1.5: 1}, "the key 1.5, a float, cannot be stored"),
        ({"a": {None: 1}}, "context.state['s-1']['a']: the key None, a NoneType, cannot be stored"),
        ({True: 1}, "the key True, a bool, cannot be stored"),
        ("x" * MAX_VALUE_BYTES, f"has {MAX_VALUE_BYTES + 5:,} bytes, more than {MAX_VALUE_BYTES:,}"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() and len(value) < 90 else "value",
)
def test_any_other_value_is_refused_with_its_key_and_type(value: Any, why: str) -> None:
    with pytest.raises(BadState) as raised:
        packed(value, "s-1")
    assert why in str(raised.value)
    assert str(raised.value).startswith("context.state['s-1']")


def test_a_value_without_end_is_refused() -> None:
    value: list[Any] = [[]]
    value[0].append(value)
    with pytest.raises(BadState, match="nested deeper than 64"):
        packed(value, "k")


def test_the_longest_value_is_kept() -> None:
    text = "x" * (MAX_VALUE_BYTES - 3)
    assert again_of(text) == text


KEYS = st.recursive(
    SCALARS.filter(lambda key: len(repr(key)) < 60), lambda inner: st.tuples(inner, inner), max_leaves=3
)


@given(KEYS)
def test_a_key_is_the_same_after_it_was_stored(key: Any) -> None:
    plain = plain_key(key)
    assert plain == key
    assert again_of([list(plain)] if type(plain) is tuple else [plain]) is not None


@pytest.mark.parametrize(
    ("key", "plain"),
    [(np.str_("a"), "a"), (np.int64(5), 5), (Color.RED, "red"), ((np.int32(1), "b"), (1, "b"))],
)
def test_a_key_of_numpy_or_an_enum_becomes_plain(key: Any, plain: Any) -> None:
    found = plain_key(key)
    assert repr(found) == repr(plain)
    assert found == key


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (float("nan"), "NaN cannot be a key"),
        (("a", float("nan")), "NaN cannot be a key"),
        (Own(), "a tests.Own cannot be a key"),
        (frozenset(), "a frozenset cannot be a key"),
        (2**64, "a whole number beyond 64 bits cannot be a key"),
        ("\udfff", "half of a surrogate pair cannot be a key"),
        ("x" * (MAX_KEY_BYTES + 1), f"the key has {MAX_KEY_BYTES + 1} bytes, more than {MAX_KEY_BYTES}"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() and len(value) < 90 else "value",
)
def test_any_other_key_is_refused(key: Any, why: str) -> None:
    with pytest.raises(BadState) as raised:
        plain_key(key)
    assert why in str(raised.value)
