from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streamd.core.contracts import Processed, Step
from streamd.core.errors import BadData, ConfigError, EnvironmentFault
from streamd.core.now import Now

NewStep = Callable[..., Step[Any]]
THERE = {"field": "n", "check": "not_null", "on_error": "reject"}
LOW = {"field": "n", "check": "range", "le": 5, "on_error": "fix"}
UNIQUE = {"field": "t", "check": "unique", "within": "2s", "on_error": "reject"}
LAST = {
    "name": "last",
    "field": "n",
    "check": "range",
    "ge": 0,
    "on_error": "fix",
    "fill_last": ["t"],
    "unfixable": "flag",
}
KNOWN = {
    "name": "known",
    "field": "t",
    "check": "reference",
    "path": str(Path(__file__).with_name("sites.csv")),
    "columns": ["id"],
    "on_error": "flag",
}
MODEL = {"name": "reading", "check": "model", "model": f"{Path(__file__).with_name('models.py')}:Reading"}
OPTIONS: list[dict[str, Any]] = [
    {"rules": [THERE, LOW]},
    {
        "rules": [
            {**UNIQUE, "on_error": "flag"},
            {**UNIQUE, "name": "few", "max_keys": 2, "on_error": "count"},
        ]
    },
    {"rules": [LAST, {"name": "e", "check": "expression", "expression": "n < 4", "on_error": "flag"}]},
    {"rules": [{"field": "t", "check": "type", "type": "str", "on_error": "fix"}]},
    {"rules": [{**KNOWN, "on_error": "fix", "fill": "a"}, {**KNOWN, "name": "sure", "on_error": "reject"}]},
    {"rules": [{**MODEL, "on_error": "fix"}, {**MODEL, "name": "strict", "strict": True}]},
]
REFUSALS: dict[str, Any] = {}


def of(source: str, **fields: Any) -> dict[str, Any]:
    return {**fields, "@source": source, "@peer": "10.0.0.1:5", "@received_at": "2026-01-01T00:00:00.000000Z"}


def counts(step: Step[Any]) -> dict[str, tuple[int, int, int]]:
    taken = step.context.quality.take()
    return {f"{key.source} {key.rule}": (n.checked, n.failed, n.fixed) for key, n in taken.items()}


def test_every_failing_rule_is_counted_and_the_worst_action_wins(new_step: NewStep, now: Now) -> None:
    step = new_step(
        "validate",
        rules=[
            {"field": "temp", "check": "range", "ge": -40, "le": 85, "on_error": "fix"},
            {"field": "unit", "check": "one_of", "values": ["C"], "on_error": "flag"},
            {"field": "sensor", "check": "not_null", "on_error": "reject"},
            {"field": "site", "check": "not_null"},
        ],
    )
    good = of("lab", temp=20, unit="C", sensor="a", site="x")
    counted = of("lab", temp=20, unit="C", sensor="a")
    both = of("lab", temp="900", unit="K", sensor="a", site="x")
    worst = of("lab", temp=900, unit="K")
    kept = dict(worst)
    done = step.process([good, counted, both, worst], now)
    assert done.records[0] is good
    assert done.records[1] is counted
    assert done.records[2] == {
        **both, "temp": 85,
        "quality": {"temp_range": "lowered from '900'", "unit_one_of": "failed: 'K' is not accepted"},
    }  # fmt: skip
    (reject,) = done.rejects
    assert reject.record is worst
    assert worst == kept
    assert (reject.reason, reject.detail) == ("rule:not_null", "sensor_not_null: sensor: missing")
    assert reject.rules == (("lab", "readings", "sensor_not_null", "sensor"),)
    assert counts(step) == {
        "lab temp_range": (4, 2, 1), "lab unit_one_of": (4, 2, 0),
        "lab sensor_not_null": (4, 1, 0), "lab site_not_null": (4, 2, 0),
    }  # fmt: skip
    assert step.context.counters.numbers() == {
        "failed": {"temp_range": 2, "unit_one_of": 2, "sensor_not_null": 1, "site_not_null": 2},
        "fixed": {"temp_range": 1},
    }


def test_a_later_rule_sees_the_value_that_an_earlier_one_has_fixed(new_step: NewStep, now: Now) -> None:
    rules = [
        {"field": "n", "check": "type", "type": "float", "on_error": "fix"},
        {"field": "n", "check": "range", "le": 9, "on_error": "reject"},
    ]
    done = new_step("validate", rules=rules).process([{"n": "8.5"}, {"n": "9.5"}], now)
    assert done.records == [{"n": 8.5, "quality": {"n_type": "converted from '8.5'"}}]
    (reject,) = done.rejects
    assert reject.record == {"n": "9.5"}
    done = new_step("validate", rules=rules[::-1]).process([{"n": "8.5"}], now)
    assert [bad.detail for bad in done.rejects] == ["n_range: n: '8.5' is no number"]


def test_a_rejected_record_leaves_no_trace_in_the_memory_of_rules(new_step: NewStep, now: Now) -> None:
    step = new_step("validate", rules=[UNIQUE, THERE, LAST])
    assert len(step.process([{"t": "a"}], now).rejects) == 1
    done = step.process([{"t": "a", "n": 3}, {"t": "a", "n": 9}, {"t": "b", "n": -1}, {"n": -1}], now)
    assert [record["n"] for record in done.records] == [3, 0, 0]
    assert [bad.detail for bad in done.rejects] == ["t_unique: t: the same value came 0 s before"]
    later = Now(now.wall_s + 3, now.mono_s + 3)
    assert [record["n"] for record in step.process([{"t": "a", "n": -1}], later).records] == [3]


def test_the_field_that_names_the_rules_keeps_what_was_there(new_step: NewStep, now: Now) -> None:
    step = new_step("validate", rules=[LOW])
    done = step.process([{"n": 9, "quality": {"other": "x"}}, {"n": 9, "quality": "mine"}], now)
    note = {"n_range": "lowered from 9"}
    assert [record["quality"] for record in done.records] == [
        {"other": "x", **note},
        {"@was": "mine", **note},
    ]
    done = new_step("validate", rules=[LOW], field="notes").process([{"n": 9, "quality": "mine"}], now)
    assert done.records == [{"n": 5, "quality": "mine", "notes": note}]


def test_each_source_of_a_batch_has_its_own_counts(new_step: NewStep, now: Now) -> None:
    step = new_step("validate", rules=[THERE])
    records = [of("a", n=1), of("b"), of("b", n=2), {"n": 1}, {"n": 1, "@source": ["odd"]}]
    step.process(records, now)
    assert counts(step) == {
        "a n_not_null": (1, 0, 0), "b n_not_null": (2, 1, 0), " n_not_null": (2, 0, 0),
    }  # fmt: skip
    step.process([of("a", n=1)], now)
    step.process([], now)
    assert counts(step) == {"a n_not_null": (1, 0, 0)}


def test_the_worst_sender_is_known(new_step: NewStep, now: Now) -> None:
    step = new_step("validate", rules=[THERE])
    records = [{**of("a"), "@peer": f"10.0.0.{n % 3 and 7}:{n}"} for n in range(9)]
    step.process(records, now)
    (count,) = step.context.quality.take().values()
    assert count.senders == {"10.0.0.7": 6, "10.0.0.0": 3}


def test_forgotten_keys_are_counted(new_step: NewStep, now: Now) -> None:
    step = new_step("validate", rules=[{**UNIQUE, "max_keys": 2}])
    step.process([{"t": name} for name in "abcde"], now)
    assert step.context.counters.numbers() == {"forgotten": 3}


def test_a_table_is_read_at_the_start_and_again_after_a_change(
    new_step: Callable[..., Any], tmp_path: Path
) -> None:
    sites = tmp_path / "sites.csv"
    rule = {**KNOWN, "path": "sites.csv", "on_error": "reject", "check_every": "2s"}
    with pytest.raises(EnvironmentFault, match=r"pipelines.readings: validate\[0\]: known: .*No such file"):
        new_step("validate", rules=[rule]).rehearse()
    sites.write_text("id\na\n")
    step = new_step("validate", rules=[THERE, rule])
    step.open()
    records = [{"n": 1, "t": "a"}, {"n": 1, "t": "bc"}, {"n": 1}]
    passed = []
    for s in (1.0, 2.5, 3.0, 3.5):
        passed.append([record.get("t") for record in step.process(records, Now(1e9, s)).records])
        if s == 1.0:
            sites.write_text("id\nbc\n")
        if (checking := step._tables["known"]._checking) is not None:
            checking.join()
    assert passed == [["a", None]] * 3 + [["bc", None]]
    assert step.context.counters.numbers()["reads"] == 2


@pytest.mark.parametrize(("rule", "reads"), [(LOW, True), (KNOWN, False), (UNIQUE, False), (LAST, False)])
def test_only_rules_without_tables_and_memory_read_columns(
    new_step: NewStep, rule: dict[str, Any], *, reads: bool
) -> None:
    assert new_step("validate", rules=[THERE, rule]).reads_columns == reads


async def test_a_closed_step_opens_its_tables_again(new_step: NewStep, now: Now) -> None:
    step = new_step("validate", rules=[KNOWN])
    step.open()
    await step.close()
    assert step.process([{"t": "a"}], now).records == [{"t": "a"}]
    assert step.context.counters.numbers()["reads"] == 2


def test_the_code_of_a_model_may_fail_and_is_logged_by_its_kind(new_step: NewStep, now: Now) -> None:
    step = new_step("validate", rules=[THERE, {**MODEL, "on_error": "reject"}])
    done = step.process([{"n": 1, "t": "b"}, {"n": 1, "t": "12.5"}, {"n": 9}, {}], now)
    assert done.records == [{"n": 1, "t": "b"}]
    failed, low, missing = done.rejects
    place = f"{Path(__file__).with_name('models.py')}:16"
    assert failed.detail == f"reading: ZeroDivisionError: 12.5 ({place})"
    assert (failed.reason, failed.kind) == ("rule:model", f"ZeroDivisionError ({place})")
    assert isinstance(failed.error, ZeroDivisionError)
    assert low.detail == "reading: n: Input should be less than or equal to 5, got 9"
    assert (low.kind, low.error) == ("", None)
    assert missing.reason == "rule:not_null"


def test_a_model_fixes_and_says_which_fields(new_step: NewStep, now: Now) -> None:
    known = frozenset({"t"})
    step = new_step("validate", known, rules=[{**MODEL, "on_error": "fix", "unfixable": "flag"}])
    done = step.process([of("lab", n="3", t="b"), of("lab", t="b"), of("lab", n=3), of("lab", n="x")], now)
    assert [record.get("quality") for record in done.records] == [
        {"reading": "n converted from '3'"},
        {"reading": "n filled"},
        None,
        {"reading": "failed: n: Input should be a valid number, unable to parse string as a number, got 'x'"},
    ]
    assert [record["n"] for record in done.records] == [3.0, 0, 3, "x"]
    assert counts(step) == {"lab reading": (4, 3, 2)}
    assert step.fields_after() == known | {"n", "quality"}


def test_a_step_is_not_current_after_its_model_has_changed(new_step: NewStep, tmp_path: Path) -> None:
    file = tmp_path / "models.py"
    file.write_text("from pydantic import BaseModel\nclass Reading(BaseModel): pass\n")
    step = new_step("validate", rules=[THERE, {**MODEL, "model": "models.py:Reading"}])
    assert step.is_current()
    file.write_text(file.read_text() + "\n")
    assert not step.is_current()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rules": []}, "at least 1 item"),
        ({"rules": [THERE, THERE]}, "two rules are named 'n_not_null'"),
        ({"rules": [THERE], "field": "@x"}, "begins with @"),
    ],
)
def test_a_wrong_list_of_rules_is_refused(new_step: NewStep, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        new_step("validate", **options)


def test_options_without_effect_are_refused(new_step: NewStep) -> None:
    with pytest.raises(ConfigError, match="no rule flags or fixes") as refused:
        new_step("validate", rules=[THERE], field="notes")
    assert refused.value.keys == ("field",)
    with pytest.raises(ConfigError, match="choose another `field`"):
        new_step("validate", rules=[{**LOW, "field": "quality"}])


def test_the_field_of_notes_is_known_to_later_steps(new_step: NewStep) -> None:
    known = frozenset({"n", "t"})
    assert new_step("validate", known, rules=[LOW]).fields_after() == known | {"quality"}
    assert new_step("validate", known, rules=[THERE]).fields_after() == known
    assert new_step("validate", rules=[LOW]).fields_after() is None


def test_one_record_alone_is_rejected_by_an_exception(new_step: NewStep, now: Now) -> None:
    step = new_step("validate", rules=[THERE])
    assert step.process_one({"n": 1}, now) == {"n": 1}
    with pytest.raises(BadData, match="rule:not_null: n_not_null: n: missing"):
        step.process_one({}, now)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just("\ud800")
    | st.sampled_from(["1", "12.5", 10**400]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)  # fmt: skip
RECORDS = st.lists(st.dictionaries(st.sampled_from(["n", "t", "quality"]), JSON), max_size=6)
EVERY = [
    *(rule for options in OPTIONS for rule in options["rules"]),
    {
        "field": "n",
        "check": "type",
        "type": "timestamp",
        "on_error": "fix",
        "name": "time",
        "unfixable": "count",
    },
    {"field": "n", "check": "one_of", "values": [1, "a"], "on_error": "fix", "fill": 1, "name": "one"},
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    records=RECORDS,
    cut=st.integers(0, 6),
    rules=st.lists(
        st.sampled_from(EVERY),
        min_size=1,
        unique_by=lambda rule: rule.get("name") or rule["field"] + rule["check"],
    ),
)
def test_no_record_raises_and_cuts_and_restarts_change_nothing(
    records: list[dict[str, Any]],
    cut: int,
    rules: list[Any],
    new_step: NewStep,
    now: Now,
    assert_exact: Callable[[int, Processed], None],
) -> None:
    before = repr(records)
    whole = new_step("validate", rules=rules)
    done = whole.process(records, now)
    assert_exact(len(records), done)
    assert repr(records) == before
    first, second = new_step("validate", rules=rules), new_step("validate", rules=rules)
    parts = [first.process(records[:cut], now)]
    if (state := first.snapshot()) is not None:
        second.restore(state, now)
    parts.append(second.process(records[cut:], now))
    assert repr([record for part in parts for record in part.records]) == repr(done.records)
    assert [bad.reason for part in parts for bad in part.rejects] == [bad.reason for bad in done.rejects]
    failed = sum(count.failed for count in whole.context.quality.take().values())
    taken = (step.context.quality.take().values() for step in (first, second))
    assert failed == sum(count.failed for part in taken for count in part)


def test_the_state_of_other_rules_is_refused(new_step: NewStep, now: Now, tmp_path: Path) -> None:
    del tmp_path
    step = new_step("validate", rules=[UNIQUE])
    assert step.snapshot() is None
    step.process([{"t": "a"}], now)
    state = step.snapshot()
    assert state is not None
    other = new_step("validate", rules=[{**UNIQUE, "name": "other"}])
    for wrong in (state, b"", b"\x93", b"{}"):
        with pytest.raises((ValueError, TypeError, KeyError)):
            other.restore(wrong, now)
    assert new_step("validate", rules=[THERE]).is_stateful is False
