from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamd.encoding.paths import Paths

_KEYS = st.sampled_from(["a", "b", "c", "a.b", "b.c", "a.b.c"])
_RECORDS = st.recursive(
    st.integers() | st.none(), lambda inner: st.dictionaries(_KEYS, inner, max_size=4), max_leaves=12
).filter(lambda value: isinstance(value, dict))


def test_the_exact_key_comes_before_the_path() -> None:
    paths = Paths({"x": "a.b", "y": "c"})
    assert paths.find({"a": {"b": 1}, "c": 2}) == {"x": 1, "y": 2}
    assert paths.find({"a.b": 3, "a": {"b": 1}}) == {"x": 3, "y": None}
    assert paths.rest({"a.b": 3, "a": {"b": 1}}) == {"a": {"b": 1}}
    assert paths.rest({"a": {"b": 1, "d": 2}, "c": 1}) == {"a": {"d": 2}}
    assert paths.rest({"a": 5, "d": 6}) == {"a": 5, "d": 6}


def _leaves(value: Any) -> list[int]:
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in _leaves(part)]
    return [value] if value is not None else []


@given(record=_RECORDS, keys=st.sets(_KEYS, min_size=1))
def test_every_value_is_in_a_column_or_in_the_rest(record: dict[str, Any], keys: set[str]) -> None:
    paths = Paths({key: key for key in keys})
    before = repr(record)
    kept = _leaves(paths.find(record)) + _leaves(paths.rest(record))
    assert set(_leaves(record)) == set(kept)
    assert repr(record) == before
