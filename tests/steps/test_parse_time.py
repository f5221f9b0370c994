from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.core.errors import ConfigError
from streamd.core.now import Now

NewStep = Callable[..., Any]
OPTIONS: list[dict[str, Any]] = [
    {"field": "n", "formats": ["epoch_s"]},
    {"field": "t", "into": "m", "timezone": "UTC", "on_error": "null"},
]
EIGHT = "2026-01-31T08:00:00.000000Z"


def test_the_time_is_made_canonical_in_its_place_or_in_another_field(new_step: NewStep, now: Now) -> None:
    records = [{"ts": "2026-01-31T09:00:00+01:00", "v": 1}]
    assert new_step("parse_time", field="ts", into="at").process(records, now).records == [
        {"ts": "2026-01-31T09:00:00+01:00", "v": 1, "at": EIGHT}
    ]
    assert new_step("parse_time", field="ts").process(records, now).records[0]["ts"] == EIGHT


def test_the_first_format_that_fits_decides(new_step: NewStep, now: Now) -> None:
    step = new_step(
        "parse_time", field="ts", formats=["%d.%m.%Y", "iso", "epoch_s", "epoch_ms"], timezone="UTC"
    )
    for value in ("31.01.2026", "2026-01-31", 1769817600, "1769817600"):
        assert step.process_one({"ts": value}, now) == {"ts": "2026-01-31T00:00:00.000000Z"}


def test_a_year_comes_from_the_receipt_of_the_record(new_step: NewStep) -> None:
    step = new_step("parse_time", field="ts", formats=["rfc3164"], timezone="UTC")
    received = {"@received_at": "2019-01-01T00:00:01.000000Z"}
    at_1e9 = Now(1e9, 1.0)  # 2001-09-09
    assert step.process_one({"ts": "Dec 31 23:59:59", **received}, at_1e9)["ts"][:4] == "2018"
    assert step.process_one({"ts": "Dec 31 23:59:59"}, at_1e9)["ts"][:4] == "2001"
    for odd in (None, 7, "yesterday", "2019-01-01"):
        assert step.process_one({"ts": "Sep  9 01:00:00", "@received_at": odd}, at_1e9)["ts"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "timestamp:missing"),
        ([], "timestamp:type"),
        ("x", "timestamp:syntax"),
        ("2026-01-31", "timestamp:naive"),
    ],
)
def test_what_cannot_be_read(new_step: NewStep, now: Now, value: Any, reason: str) -> None:
    record = {"ts": value, "v": 1}
    done = new_step("parse_time", field="ts", into="at").process([dict(record)], now)
    assert [(bad.record, bad.reason) for bad in done.rejects] == [(record, reason)]
    assert done.rejects[0].detail.startswith("ts")
    keeping = new_step("parse_time", field="ts", into="at", on_error="keep")
    assert keeping.process([dict(record)], now).records == [record]
    nulling = new_step("parse_time", field="ts", into="at", on_error="null")
    assert nulling.process([dict(record)], now).records == [{**record, "at": None}]
    for step in (keeping, nulling):
        assert step.context.counters.numbers() == {"unparsed": {reason: 1}}


def test_the_reason_is_of_a_format_that_nearly_fits(new_step: NewStep, now: Now) -> None:
    step = new_step("parse_time", field="ts", formats=["epoch_s", "iso", "rfc2822"])
    (bad,) = step.process([{"ts": "2026-01-31 08:00"}], now).rejects
    assert bad.reason == "timestamp:naive"
    (bad,) = step.process([{"ts": "soon"}], now).rejects
    assert (bad.reason, bad.detail) == ("timestamp:syntax", "ts: no time of epoch_s, iso, rfc2822: 'soon'")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": []}, "at least 1 item"),
        ({"timezone": "Mars/Olympus"}, "there is no zone 'Mars/Olympus'"),
        ({"timezone": "/etc/passwd"}, "there is no zone"),
        ({"ambiguous": "later"}, "no effect without timezone"),
        ({"formats": ["iso", "epoch_s", "iso"]}, "'iso' occurs twice"),
        ({"formats": ["epoch_s", "epoch_ms"], "timezone": "Europe/Berlin"}, "timezone has no effect"),
        ({"into": "@received_at"}, "begins with @"),
        ({"on_error": "drop"}, "'reject', 'keep' or 'null'"),
    ],
)
def test_wrong_options_are_refused(new_step: NewStep, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        new_step("parse_time", field="ts", **options)


def test_a_wrong_format_is_refused_at_its_place(new_step: NewStep) -> None:
    with pytest.raises(ConfigError, match="names no day") as refused:
        new_step("parse_time", field="ts", formats=["iso", "%H:%M"])
    assert refused.value.keys == ("formats", 1)


def test_with_known_fields_names_are_checked_and_handed_on(new_step: NewStep) -> None:
    known = frozenset({"ts", "v"})
    assert new_step("parse_time", known, field="ts").fields_after() == known
    assert new_step("parse_time", known, field="ts", into="at").fields_after() == known | {"at"}
    assert new_step("parse_time", field="ts").fields_after() is None
    with pytest.raises(ConfigError, match="no field 'tz'"):
        new_step("parse_time", known, field="tz")
