from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.core.contracts import Processed
from streamd.core.errors import BadData, ConfigError
from streamd.core.now import Now

NewStep = Callable[..., Any]
OPTIONS: list[dict[str, Any]] = [
    {"field": "t", "format": "json", "on_error": "keep"},
    {"field": "t", "format": "pattern", "pattern": "(?P<m>[a-z]*)", "on_conflict": "keep"},
]
JSON = '{"level": "warn", "nested": {"n": 1}}'


def test_json_in_a_message(new_step: NewStep, now: Now) -> None:
    record = {"message": JSON, "host": "a", "@peer": "p"}
    before = dict(record)
    step = new_step("parse", field="message", format="json")
    assert step.process_one(record, now) == {**before, "level": "warn", "nested": {"n": 1}}
    assert record == before


@pytest.mark.parametrize(
    ("options", "text", "fields"),
    [
        ({"format": "logfmt", "types": "auto"}, "level=warn n=7", {"level": "warn", "n": 7}),
        ({"format": "logfmt"}, b"level=warn n=7", {"level": "warn", "n": "7"}),
        ({"format": "csv", "columns": ["a", "b"]}, "1,x", {"a": "1", "b": "x"}),
        (
            {"format": "csv", "columns": ["a", "b"], "delimiter": ";", "quote": "'"},
            "1;';'",
            {"a": "1", "b": ";"},
        ),
        ({"format": "pattern", "pattern": r"<(?P<pri>\d+)>"}, "<13>x", {"pri": "13"}),
        ({"format": "pattern", "pattern": r"<(?P<pri>\d+)>", "types": "auto"}, "<13>x", {"pri": 13}),
    ],
)
def test_other_formats(
    new_step: NewStep, now: Now, options: dict[str, Any], text: Any, fields: dict[str, Any]
) -> None:
    step = new_step("parse", field="m", remove=True, **options)
    assert step.process_one({"m": text, "x": 1}, now) == {"x": 1, **fields}


def test_where_the_fields_go(new_step: NewStep, now: Now) -> None:
    record = {"m": JSON}
    assert new_step("parse", field="m", format="json", into="data").process_one(record, now) == {
        "m": JSON,
        "data": {"level": "warn", "nested": {"n": 1}},
    }
    assert new_step("parse", field="m", format="json", into="m", remove=True).process_one(record, now) == {
        "m": {"level": "warn", "nested": {"n": 1}}
    }
    assert new_step("parse", field="m", format="json", into="v").process_one({"m": "[1]"}, now)["v"] == [1]
    step = new_step("parse", field="m", format="json", prefix="app_", remove=True)
    assert step.process_one(record, now) == {"app_level": "warn", "app_nested": {"n": 1}}


def test_a_taken_name(new_step: NewStep, now: Now) -> None:
    record = {"m": '{"m": "inner", "host": "b"}', "host": "a"}
    (bad,) = new_step("parse", field="m", format="json").process([record], now).rejects
    assert (bad.record, bad.reason) == (record, "parse:conflict")
    kept = new_step("parse", field="m", format="json", on_conflict="keep").process_one(record, now)
    assert kept == record
    step = new_step("parse", field="m", format="json", on_conflict="replace")
    assert step.process_one(record, now) == {"m": "inner", "host": "b"}
    removed = new_step("parse", field="m", format="json", on_conflict="keep", remove=True)
    assert removed.process_one(record, now) == {"m": "inner", "host": "a"}
    into = new_step("parse", field="m", format="json", into="host")
    with pytest.raises(BadData, match="parse:conflict"):
        into.process_one(record, now)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "parse:missing"),
        (7, "parse:type"),
        ({"a": 1}, "parse:type"),
        (b"\xff", "parse:utf8"),
        ("{", "parse:json"),
        ("[1]", "parse:json"),
        ('{"@peer": "forged"}', "parse:json"),
    ],
)
def test_what_cannot_be_read_is_rejected_or_kept_and_counted(
    new_step: NewStep,
    now: Now,
    assert_exact: Callable[[int, Processed], None],
    value: Any,
    reason: str,
) -> None:
    records = [{"m": value, "x": 1}, {"m": '{"y": 2}'}]
    done = new_step("parse", field="m", format="json").process(records, now)
    assert [(bad.record, bad.reason) for bad in done.rejects] == [(records[0], reason)]
    assert_exact(2, done)
    keeping = new_step("parse", field="m", format="json", on_error="keep", remove=True)
    assert keeping.process(records, now).records == [records[0], {"y": 2}]
    assert keeping.context.counters.numbers() == {"unparsed": {reason: 1}}


@pytest.mark.parametrize("on_conflict", ["reject", "keep", "replace"])
def test_metadata_cannot_be_read_from_a_text(new_step: NewStep, now: Now, on_conflict: str) -> None:
    for options, text in (
        ({"format": "logfmt"}, "@peer=forged"),
        ({"format": "logfmt"}, "@flag=forged"),
        ({"format": "logfmt", "prefix": ""}, "a=1 @source=forged"),
    ):
        step = new_step("parse", field="m", on_conflict=on_conflict, **options)
        (bad,) = step.process([{"m": text, "@peer": "p", "@source": "s"}], now).rejects
        assert bad.reason == "parse:reserved"
    assert new_step("parse", field="m", format="logfmt").process_one({"m": "@timestamp=1"}, now) == {
        "m": "@timestamp=1",
        "@timestamp": "1",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "xml"}, "'json', 'logfmt', 'csv' or 'pattern'"),
        ({"format": "csv"}, "needs columns"),
        ({"format": "pattern"}, "needs pattern"),
        ({"format": "json", "columns": ["a"]}, "columns is for csv, not for json"),
        ({"format": "json", "types": "auto"}, "types is for logfmt and csv and pattern, not for json"),
        ({"format": "logfmt", "delimiter": ";"}, "delimiter is for csv"),
        ({"format": "logfmt", "pattern": "x"}, "pattern is for pattern"),
        ({"format": "csv", "columns": ["a", "a"]}, "occurs twice"),
        ({"format": "csv", "columns": ["@peer"]}, "metadata"),
        ({"format": "csv", "columns": ["a"], "delimiter": '"'}, "different characters"),
        ({"format": "json", "into": "x", "prefix": "y"}, "prefix has no effect with into"),
        ({"format": "json", "prefix": "@"}, "begins with @"),
    ],
)
def test_wrong_options_are_refused(new_step: NewStep, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        new_step("parse", field="m", **options)


def test_a_pattern_that_may_take_for_ever_is_refused_at_its_key(new_step: NewStep) -> None:
    with pytest.raises(ConfigError, match="exponential time") as refused:
        new_step("parse", field="m", format="pattern", pattern="(?P<a>(a+)+)b")
    assert refused.value.keys == ("pattern",)


def test_with_known_fields_names_are_checked_and_handed_on(new_step: NewStep) -> None:
    known = frozenset({"message", "host"})
    with pytest.raises(ConfigError, match=r"no field 'mesage': did you mean 'message'\?") as refused:
        new_step("parse", known, field="mesage", format="json")
    assert refused.value.keys == ("field",)
    assert new_step("parse", known, field="message", format="json").fields_after() is None
    assert new_step("parse", known, field="message", format="json", into="x").fields_after() == known | {"x"}
    step = new_step("parse", known, field="message", format="csv", columns=["a"], prefix="p_", remove=True)
    assert step.fields_after() == frozenset({"host", "p_a"})
    keeping = new_step(
        "parse", known, field="message", format="csv", columns=["a"], remove=True, on_error="keep"
    )
    assert keeping.fields_after() == known | {"a"}
    step = new_step("parse", known, field="message", format="pattern", pattern="(?P<g>x)")
    assert step.fields_after() == known | {"g"}
    assert new_step("parse", field="message", format="csv", columns=["a"]).fields_after() is None
