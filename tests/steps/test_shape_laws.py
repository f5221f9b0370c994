"""What holds for every step that changes the shape of records, whatever the records hold."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamd.core.contracts import Processed, Step
from streamd.core.errors import BadData
from streamd.core.json_rules import RESERVED_KEYS
from streamd.core.now import Now

NewStep = Callable[..., Step[Any]]

SITES = str(Path(__file__).with_name("sites.csv"))
CASES: list[tuple[str, dict[str, Any]]] = [
    ("select", {"fields": ["a", "b"]}),
    ("drop", {"fields": ["a", "b"]}),
    ("rename", {"fields": {"a": "b", "c": "d"}}),
    ("rename", {"fields": {"a": "b"}, "on_conflict": "replace"}),
    ("flatten", {}),
    ("flatten", {"lists": "index", "separator": "_", "max_fields": 5, "on_conflict": "keep"}),
    ("split", {"field": "a"}),
    ("split", {"field": "a", "elements": "fields", "on_conflict": "replace", "on_empty": "keep"}),
    ("split", {"field": "a", "separator": ",", "into": "b", "position": "c", "on_empty": "reject"}),
    ("parse", {"field": "a", "format": "json"}),
    ("parse_time", {"field": "a", "formats": ["iso", "epoch_ms", "rfc3164", "%b %d %Y"], "timezone": "UTC"}),
    ("parse_time", {"field": "a", "into": "b", "on_error": "null"}),
    ("convert", {"fields": {"a": {"from": "F", "to": "C"}, "b": {"from": "text", "to": "s"}}}),
    ("convert", {"fields": {"a": {"expression": "a * 2 + b", "into": "c", "digits": 1}}}),
    ("lookup", {"path": SITES, "key": {"a": "id"}, "fields": {"b": "site"}, "on_conflict": "replace"}),
    ("lookup", {"path": SITES, "key": {"a": "id", "b": "site"}, "fields": ["floor"], "on_missing": "reject"}),
    ("merge", {"key": ["a"], "fields": ["b", "c"], "max_age": "1h", "max_keys": 2}),
    ("parse", {"field": "a", "format": "json", "into": "b", "on_conflict": "replace"}),
    ("parse", {"field": "a", "format": "logfmt", "on_conflict": "replace", "remove": True, "prefix": "p"}),
    ("parse", {"field": "a", "format": "csv", "columns": ["c", "d"], "on_conflict": "keep", "types": "auto"}),
    ("parse", {"field": "a", "format": "pattern", "pattern": "(?P<x>.)(?P<y>.)?", "on_error": "keep"}),
]
TEXTS = st.text(max_size=6) | st.sampled_from(
    ["\ud800", "a,b", "1", "-0", "{}", '{"@peer": 1}', "a=b c", "2026-01-31T08:00:00Z", "1 KiB", "x" * 300]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**70), 10**400, 0])
    | st.floats()
    | TEXTS
    | st.binary(max_size=3)
)
KEYS = st.sampled_from(["a", "b", "c", "d", "a.b", "", "@x", "\ud800"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
METADATA = {"@source": "lab", "@peer": "10.0.0.7:5", "@received_at": "2026-01-31T08:00:00.000000Z"}
RECORDS = st.lists(
    st.dictionaries(KEYS, VALUES, max_size=4).map(lambda record: {**record, **METADATA}), max_size=4
)


def outcome(step: Step[Any], record: dict[str, Any], now: Now) -> tuple[list[Any], list[Any]]:
    """The records and rejects of one record alone."""
    try:
        made = step.process_one(record, now)
    except BadData as bad:
        return [], [(bad.reason, bad.detail)]
    return (made if isinstance(made, list) else [made] if isinstance(made, dict) else []), []


def same(one: Any, other: Any) -> bool:
    """Equal, where NaN equals NaN."""
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{name}-{n}" for n, (name, _) in enumerate(CASES)])
def test_any_record_is_shaped_or_rejected_with_a_reason_and_batches_do_not_matter(
    new_step: NewStep,
    now: Now,
    assert_exact: Callable[[int, Processed], None],
    name: str,
    options: dict[str, Any],
) -> None:
    @settings(
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=25
    )
    @given(records=RECORDS)
    def holds(records: list[dict[str, Any]]) -> None:
        step, alone = new_step(name, **options), new_step(name, **options)
        step.open()
        alone.open()
        given_ = copy.deepcopy(records)
        done = step.process(records, now)
        assert_exact(len(records), done)
        singles = [outcome(alone, copy.deepcopy(record), now) for record in given_]
        assert same(done.records, [made for single, _ in singles for made in single])
        assert [(bad.reason, bad.detail) for bad in done.rejects] == [bad for _, b in singles for bad in b]
        assert all(bad.reason.startswith((f"{name}:", "expr:", "timestamp:", "key:")) for bad in done.rejects)
        assert all(any(same(bad.record, was) for was in given_) for bad in done.rejects)
        for record in done.records:
            assert {key: record.get(key) for key in METADATA} == METADATA
            assert RESERVED_KEYS.intersection(record) == METADATA.keys()
            # What a step knows of the names afterwards is true of every record.
            after = step.fields_after()
            assert after is None or record.keys() - METADATA.keys() <= after

    holds()
