"""What a model gets of a record, and what a record gets of a model."""

import math
from typing import Any

import pytest

from streamd.learning.values import by_text, is_label, plain_probabilities


def test_labels_of_different_types_with_the_same_text_keep_names_of_their_own() -> None:
    labels: list[Any] = ["true", True, "x", "2", 2, 1.5, "1.5", False, "False", '"true"']
    shares = {label: 1 / len(labels) for label in labels}
    named = by_text(shares)
    assert named is not None
    assert len(named) == len(labels)
    assert math.isclose(sum(named.values()), 1.0)
    assert set(named) == {
        "true", '"true"', '"\\"true\\""', "x", "2", '"2"', "1.5", '"1.5"', "false", "False"
    }  # fmt: skip
    by_value = by_text({"true": 0.25, True: 0.5, "false": 0.25})
    assert by_value == {"true": 0.5, '"true"': 0.25, "false": 0.25}
    assert by_text({True: 0.5, "true": 0.25, "false": 0.25}) == by_value


def test_labels_without_a_namesake_have_their_plain_text() -> None:
    assert by_text({"true": 0.5, "1": 0.5}) == {"true": 0.5, "1": 0.5}
    assert by_text({True: 0.5, 7: 0.5}) == {"true": 0.5, "7": 0.5}
    assert by_text(None) is None


def test_a_label_that_no_record_can_hold_leaves_no_probabilities() -> None:
    assert plain_probabilities({10**30: 0.5, 10**31: 0.25, "a": 0.25}) is None
    assert plain_probabilities({"a": 0.5, (1, 2): 0.5}) is None
    assert plain_probabilities({"a": 0.5, True: 0.5}) == {"a": 0.5, True: 0.5}


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**30, 10**149])
def test_a_whole_number_beyond_64_bits_is_a_number_and_no_class(value: int) -> None:
    assert is_label(value, "regressor")
    assert not is_label(value, "classifier")


@pytest.mark.parametrize("value", [2**64 - 1, -(2**63), 0, 1e30, -1e150, True, "a"])
def test_what_a_record_can_hold_is_a_class(value: Any) -> None:
    assert is_label(value, "classifier")
