from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streamd.core.contracts import DROP, Processed, Step
from streamd.core.errors import BadData, ConfigError
from streamd.core.now import Now

Records = list[dict[str, Any]]


def test_what_is_true_goes_on_and_the_rest_is_filtered(new_step: Callable[..., Step[Any]], now: Now) -> None:
    step = new_step("filter", where="value > 90")
    hot: dict[str, Any] = {"value": 95}
    done = step.process([hot, {"value": 5}, {}, {"value": None}, {"value": "x"}], now)
    assert done.records == [hot]
    assert done.records[0] is hot
    assert done.filtered == 3
    assert [(bad.record, bad.reason) for bad in done.rejects] == [({"value": "x"}, "expr:type")]
    assert "'str' and 'int'" in done.rejects[0].detail
    assert done.rejects[0].error is None  # bad data, not bad code


def test_a_name_no_record_has_is_found_at_start(new_step: Callable[..., Step[Any]]) -> None:
    with pytest.raises(ConfigError, match=r"where: there is no field 'valu': did you mean 'value'\?"):
        new_step("filter", frozenset({"value"}), where="valu > 90")
    assert new_step("filter", frozenset({"value"}), where="value > 90").fields_after() == frozenset({"value"})


def test_a_fault_in_the_expression_is_at_its_key(new_step: Callable[..., Step[Any]]) -> None:
    with pytest.raises(ValidationError) as refused:
        new_step("filter", where="value >")
    assert [fault["loc"] for fault in refused.value.errors()] == [("where",)]


@given(
    records=st.lists(
        st.dictionaries(st.sampled_from("ab"), st.none() | st.integers() | st.text(max_size=2), max_size=2)
    ),
    where=st.sampled_from(["a > 1", "a", "a and b < 5", "1 / a > b", "len(a) > 1 or a is None", "a == b"]),
)
@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)  # nothing is kept
def test_one_by_one_and_the_batch_agree_and_the_sum_is_exact(
    new_step: Callable[..., Step[Any]],
    now: Now,
    assert_exact: Callable[[int, Processed], None],
    records: Records,
    where: str,
) -> None:
    step = new_step("filter", where=where)
    done = step.process(records, now)
    assert_exact(len(records), done)
    kept, filtered, rejected = [], 0, []
    for record in records:
        try:
            result = step.process_one(record, now)
        except BadData as bad:
            rejected.append((record, bad.reason, bad.detail))
        else:
            filtered += result is DROP
            kept += [] if result is DROP else [result]
    assert done.records == kept
    assert done.filtered == filtered
    assert [(bad.record, bad.reason, bad.detail) for bad in done.rejects] == rejected
