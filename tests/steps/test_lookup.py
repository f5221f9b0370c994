from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.core.contracts import DROP, Processed
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.now import Now

NewStep = Callable[..., Any]
SITES = str(Path(__file__).with_name("sites.csv"))
OPTIONS: list[dict[str, Any]] = [
    {"path": SITES, "key": {"t": "id"}, "fields": ["site"]},
    {
        "path": SITES,
        "key": {"n": "floor"},
        "fields": {"m": "site"},
        "on_missing": "filter",
        "on_conflict": "keep",
    },
]


def test_a_row_gives_its_fields(new_step: NewStep, now: Now) -> None:
    step = new_step(
        "lookup", path=SITES, key=["id"], fields={"place": "site", "floor": "floor"}, types="auto"
    )
    step.open()
    records = [{"id": "a", "v": 1, "@peer": "p"}, {"id": 7}, {"id": 7.0}, {"id": "07"}, {"id": None}, {}]
    assert step.process(records, now).records == [
        {"id": "a", "v": 1, "@peer": "p", "place": "roof", "floor": 3},
        {"id": 7, "place": "yard", "floor": 0},
        {"id": 7.0, "place": "yard", "floor": 0},
        {"id": "07", "place": None, "floor": None},
        {"id": None, "place": None, "floor": None},
        {"place": None, "floor": None},
    ]
    assert step.context.counters.numbers() == {"reads": 1, "unknown": 3}


def test_a_key_of_several_fields(new_step: NewStep, now: Now, tmp_path: Path) -> None:
    (tmp_path / "units.csv").write_text("line,unit,name\n1,2,pump\n12,,fan\n")
    step = new_step("lookup", path="units.csv", key=["line", "unit"], fields=["name"])
    step.open()
    found = [step.process_one(r, now)["name"] for r in ({"line": 1, "unit": 2}, {"line": "12", "unit": ""})]
    assert found == ["pump", "fan"]
    assert step.process_one({"line": 12}, now) == {"line": 12, "name": None}


def test_a_record_whose_key_is_unknown(
    new_step: NewStep, now: Now, assert_exact: Callable[[int, Processed], None]
) -> None:
    options: dict[str, Any] = {"path": SITES, "key": ["id"], "fields": ["site"]}
    records: list[dict[str, Any]] = [{"id": "x", "site": "own"}, {"id": "a"}, {"id": [1]}]
    nulling = new_step("lookup", **options)
    assert nulling.process([dict(r) for r in records], now).records == [
        {"id": "x", "site": "own"},
        {"id": "a", "site": "roof"},
        {"id": [1], "site": None},
    ]
    rejecting = new_step("lookup", **options, on_missing="reject")
    done = rejecting.process([dict(r) for r in records], now)
    assert [(bad.record, bad.reason, bad.detail) for bad in done.rejects] == [
        (records[0], "lookup:missing", "id 'x' is not in the table"),
        (records[2], "lookup:missing", "id [1] is not in the table"),
    ]
    assert_exact(3, done)
    filtering = new_step("lookup", **options, on_missing="filter")
    done = filtering.process([dict(r) for r in records], now)
    assert (done.filtered, len(done.records)) == (2, 1)
    assert_exact(3, done)
    assert filtering.process_one({"id": "x"}, now) is DROP
    for step, count in ((nulling, 2), (rejecting, 2), (filtering, 3)):
        assert step.context.counters.totals() == {"reads": 1, "unknown": count}


def test_a_taken_name(new_step: NewStep, now: Now) -> None:
    options: dict[str, Any] = {"path": SITES, "key": ["id"], "fields": ["floor", "site"]}
    record = {"id": "a", "site": "own"}
    (bad,) = new_step("lookup", **options).process([record], now).rejects
    assert (bad.record, bad.reason) == ({"id": "a", "site": "own"}, "lookup:conflict")
    assert "'site'" in bad.detail
    for on_conflict, left in (("keep", "own"), ("replace", "roof")):
        step = new_step("lookup", **options, on_conflict=on_conflict)
        assert step.process_one(dict(record), now) == {"id": "a", "site": left, "floor": "3"}


def test_a_table_that_cannot_be_read_names_the_step_and_the_file(new_step: NewStep, tmp_path: Path) -> None:
    step = new_step("lookup", path="none.csv", key=["id"], fields=["site"])
    for call in (step.rehearse, step.open):
        with pytest.raises(EnvironmentFault, match=r"^pipelines.readings: lookup\[0\]: .*none.csv: No such"):
            call()
    (tmp_path / "none.csv").write_text("id,site\n")
    step.rehearse()
    (tmp_path / "none.csv").unlink()
    step.open()  # what was rehearsed is used


def test_a_change_is_seen_by_later_batches(new_step: NewStep, tmp_path: Path) -> None:
    path = tmp_path / "sites.csv"
    path.write_text("id,site\na,roof\n")
    step = new_step("lookup", path="sites.csv", key=["id"], fields=["site"], check_every="2s")
    step.open()
    seen = []
    for s in (1.0, 2.5, 3.0, 3.5):
        path.with_suffix(".new").write_text(f"id,site\na,site {s}\n")
        path.with_suffix(".new").replace(path)
        seen.append(step.process_one({"id": "a"}, Now(1e9, s))["site"])
        if step._file._checking is not None:
            step._file._checking.join()
    assert seen == ["roof", "roof", "roof", "site 3.0"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": []}, "does nothing"),
        ({"fields": {}}, "does nothing"),
        ({"key": ["a", "a"]}, "occurs twice"),
        ({"key": [1]}, "valid dictionary"),
        ({"fields": ["@peer"]}, "begins with @"),
        ({"path": ""}, "at least 1 character"),
        ({"table": "t", "types": "auto"}, "types is for CSV"),
        ({"table": "t", "delimiter": ";"}, "delimiter is for CSV"),
        ({"fields": ["id"]}, "each record has 'id' already"),
        ({"fields": {"id": "site"}, "on_conflict": "keep"}, "each record has 'id' already"),
        ({"delimiter": '"'}, "delimiter cannot be"),
        ({"check_every": "0s"}, "greater than 0"),
        ({"max_size": 5}, "a size is a number with a unit"),
    ],
)
def test_wrong_options_are_refused(new_step: NewStep, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        new_step("lookup", **{"path": SITES, "key": ["id"], "fields": ["site"]} | options)


def test_with_known_fields_names_are_checked_and_handed_on(new_step: NewStep) -> None:
    known = frozenset({"id", "v"})
    options = {"path": "later.csv", "fields": ["site"]}
    assert new_step("lookup", known, key=["id"], **options).fields_after() == known | {"site"}
    assert new_step("lookup", key=["id"], **options).fields_after() is None
    with pytest.raises(ConfigError, match="no field 'ids': did you mean 'id'") as refused:
        new_step("lookup", known, key={"ids": "id"}, **options)
    assert refused.value.keys == ("key",)
