"""Aggregates by sketches of bounded size: quantile, distinct and top_k. They need the extra `analytics`."""

import json
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from streamd.windows.aggregate import SCALARS, Aggregate
from streamd.windows.exact import stored_number

KLL_K = 200
"""Parameter of the quantile sketch: 1.33 % error of the rank, for 99 of 100 sketches."""
HLL_LG_K = 12
"""Parameter of the distinct sketch: 1.6 % standard error."""
TOP_LG_K = 10
"""Parameter of the top_k sketch, which counts exactly up to 768 different values."""
MOST_K = 100
"""Largest k of top_k."""


def _datasketches(function: str) -> Any:
    """The module. Raises ValueError if it is not installed."""
    try:
        return import_module("datasketches")
    except ImportError:
        raise ValueError(
            f"{function} needs the package datasketches: pip install 'streamd-daemon[analytics]'"
        ) from None


class Sketch(Aggregate):
    """An aggregate whose state is a sketch, which is changed in place, or None before the first value."""

    function: str

    def __init__(self, field: str | None) -> None:
        super().__init__(field)
        self._module = _datasketches(self.function)

    def empty(self) -> None:
        return None

    def copy(self, state: Any) -> Any:
        return self.load(self.dump(state))


class Quantile(Sketch):
    """A quantile by a KLL sketch of about 2 KB. It is exact up to about 200 values.

    The sketch draws random numbers, so two runs differ within the error.
    """

    function = "quantile"

    def __init__(self, field: str | None, rank: float) -> None:
        super().__init__(field)
        self._rank = rank
        self._array = import_module("numpy").array

    @classmethod
    def of(cls, field: str | None, argument: str | None) -> "Quantile":
        """Raises ValueError if the rank is no number from 0 to 1."""
        try:
            rank = float(argument or "")
        except ValueError:
            rank = -1.0
        if not 0 <= rank <= 1:
            raise ValueError(f"quantile({field}, {argument}): the second argument is a number from 0 to 1")
        return cls(field, rank)

    def fold(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        if not values:
            return state
        if state is None:
            state = self._module.kll_doubles_sketch(KLL_K)
        state.update(self._array(values, dtype="float64"))
        return state

    def merge(self, one: Any, other: Any) -> Any:
        if one is None or other is None:
            return self.copy(other) if one is None else one
        one.merge(other)
        return one

    def result(self, state: Any) -> float | None:
        return None if state is None else stored_number(state.get_quantile(self._rank, inclusive=True))

    def dump(self, state: Any) -> Any:
        return None if state is None else state.serialize()

    def load(self, stored: Any) -> Any:
        return None if stored is None else self._module.kll_doubles_sketch.deserialize(stored)


class Distinct(Sketch):
    """The number of different values by a HyperLogLog sketch of at most 4 KB."""

    function = "distinct"
    takes = SCALARS

    def fold(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        if not values:
            return state
        if state is None:
            state = self._module.hll_sketch(HLL_LG_K, self._module.tgt_hll_type.HLL_8)
        for value in set(map(_text_of, values)):
            state.update(value)
        return state

    def merge(self, one: Any, other: Any) -> Any:
        if one is None or other is None:
            return self.copy(other) if one is None else one
        union = self._module.hll_union(HLL_LG_K)
        union.update(one)
        union.update(other)
        return union.get_result(self._module.tgt_hll_type.HLL_8)

    def result(self, state: Any) -> int:
        return 0 if state is None else round(state.get_estimate())

    def dump(self, state: Any) -> Any:
        return None if state is None else state.serialize_updatable()

    def load(self, stored: Any) -> Any:
        return None if stored is None else self._module.hll_sketch.deserialize(stored)


class TopK(Sketch):
    """The most frequent values, each with its count: `[{"value": "a", "count": 12}]`.

    The counts are exact if the window has at most 768 different values. With more, a count is too high by at
    most 0.35 % of the window's records.
    """

    function = "top_k"
    takes = SCALARS

    def __init__(self, field: str | None, count: int) -> None:
        super().__init__(field)
        self._count = count

    @classmethod
    def of(cls, field: str | None, argument: str | None) -> "TopK":
        """Raises ValueError if the number is none from 1 to 100."""
        text = argument or ""
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_K):
            raise ValueError(
                f"top_k({field}, {argument}): the second argument is a whole number from 1 to {MOST_K}"
            )
        return cls(field, int(text))

    def fold(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        if not values:
            return state
        if state is None:
            state = self._module.frequent_strings_sketch(TOP_LG_K)
        for value, count in Counter(map(_text_of, values)).items():
            state.update(value, count)
        return state

    def merge(self, one: Any, other: Any) -> Any:
        if one is None or other is None:
            return self.copy(other) if one is None else one
        one.merge(other)
        return one

    def result(self, state: Any) -> list[dict[str, Any]]:
        if state is None:
            return []
        error_type = self._module.frequent_items_error_type.NO_FALSE_NEGATIVES
        found = [(-count, text) for text, count, *_ in state.get_frequent_items(error_type)]
        return [{"value": _value_of(text), "count": -count} for count, text in sorted(found)[: self._count]]

    def dump(self, state: Any) -> Any:
        return None if state is None else state.serialize()

    def load(self, stored: Any) -> Any:
        return None if stored is None else self._module.frequent_strings_sketch.deserialize(stored)


def _text_of(value: Any) -> str:
    """One text for equal values: 1 and 1.0 are equal, 1 and "1" and true are not."""
    kind = type(value)
    if kind is str:
        return f"s{value}"
    if kind is float and value.is_integer() and abs(value) < 2.0**63:
        value = int(value)
    return f"j{json.dumps(value)}"


def _value_of(text: str) -> Any:
    return text[1:] if text[0] == "s" else json.loads(text[1:])
