from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.errors import ConfigError
from streamd.rules.checks import RaisedFault
from streamd.rules.model import OfModel
from streamd.rules.rule import Rule
from streamd.rules.settings import RuleSettings

MODELS = """
from __future__ import annotations
from datetime import datetime
from uuid import UUID
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator, model_validator
from parts import Position

calls = []

class Reading(BaseModel):
    sensor: str
    temp: float = Field(ge=-40, le=85)
    at: datetime | None = None
    id: UUID | None = None
    gps: Position | None = None
    raw: bytes | None = None

    @field_validator("sensor")
    @classmethod
    def known(cls, value: str) -> str:
        calls.append(value)
        if value == "odd":
            raise ValueError("odd name")
        if value == "broken":
            return {}[value]
        if value == "exit":
            raise SystemExit(3)
        return value

class Exact(BaseModel):
    model_config = ConfigDict(extra="forbid")
    temp: float
    sender: str = Field("", alias="@peer")

class Greedy(BaseModel):
    @model_validator(mode="before")
    @classmethod
    def take(cls, record):
        record.clear()
        return record

class Unfinished(BaseModel):
    other: "Nowhere"

class Anything(RootModel[dict[str, float]]): pass
def function(record): return record
number = 5
"""
PARTS = "from pydantic import BaseModel\nclass Position(BaseModel):\n    lat: float\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "parts.py").write_text(PARTS)
    return tmp_path


def rule_of(folder: Path, model: str = "models.py:Reading", **options: Any) -> Rule:
    return Rule(RuleSettings(check="model", model=model, **options), None, 2, folder)


def test_the_failed_fields_are_named_with_reason_and_value(folder: Path) -> None:
    rule = rule_of(folder)
    assert (rule.name, rule.field) == ("reading_model", "")
    assert rule.fault({"sensor": "a", "temp": "12.5", "more": 1, "@peer": "p"}) is None
    assert rule.fault({"temp": 900, "gps": {"lat": "x"}, "at": "soon"}) == (
        "sensor: missing; temp: Input should be less than or equal to 85, got 900;"
        " at: Input should be a valid datetime or date, input is too short, got 'soon';"
        " gps.lat: Input should be a valid number, unable to parse string as a number, got 'x'"
    )
    assert rule.fault({"sensor": "odd", "temp": 1}) == "sensor: Value error, odd name, got 'odd'"


def test_the_detail_is_bounded(folder: Path) -> None:
    (folder / "long.py").write_text(
        "from pydantic import create_model\n"
        "Long = create_model('Long', **{'f' * 900 + str(n): int for n in range(99)})\n"
    )
    rule = rule_of(folder, "long.py:Long")
    fault = rule.fault({"f" * 900 + str(n): "x" * 9000 if n < 60 else n for n in range(99)})
    assert fault is not None
    assert fault.endswith("and 55 more")
    assert len(fault) < 2000
    assert rule.fault({}) == "99 errors of the model Long"


def test_an_exception_of_the_models_code_is_a_fault_with_its_name_and_place(folder: Path) -> None:
    rule = rule_of(folder)
    broken, ended = "KeyError: 'broken' (models.py:25)", "SystemExit: 3 (models.py:27)"
    for sensor, text in (("broken", broken), ("exit", ended)):
        fault = rule.fault({"sensor": sensor, "temp": 1})
        assert isinstance(fault, RaisedFault)
        assert fault == text
        assert fault.kind == text.replace(": 'broken'", "").replace(": 3", "")
        assert type(fault.error).__name__ in text


def test_strict_refuses_what_would_be_converted_but_not_what_json_has_no_type_for(folder: Path) -> None:
    rule = rule_of(folder, strict=True)
    good = {"sensor": "a", "temp": 3, "at": "2026-01-31T08:00:00Z", "id": "0" * 32, "gps": {"lat": 1}}
    assert rule.fault(good) is None
    assert rule.fault({**good, "temp": "3"}) == "temp: Input should be a valid number, got '3'"
    assert rule.fault({"sensor": "a", "temp": 3.5, "raw": b"\xff"}) is None
    assert rule.fault({"sensor": "a", "temp": "3", "raw": b"\xff"}) is not None
    assert rule.fault({"sensor": "a", "temp": float("nan")}) is not None
    assert rule.fault({"sensor": "a", "temp": 3, "at": 10**5000}) is not None


def test_metadata_is_hidden_unless_the_model_names_it(folder: Path) -> None:
    rule = rule_of(folder, "models.py:Exact")
    metadata = {"@source": "s", "@peer": "p", "@received_at": "t", "@flag": "truncated"}
    assert rule.fault({"temp": 1, **metadata}) is None
    assert rule.fault({"temp": 1, "@peer": 5}) == "@peer: Input should be a valid string, got 5"
    assert rule.fault({"temp": 1, "more": 2}) == "more: Extra inputs are not permitted, got 2"


def test_the_model_cannot_change_the_record(folder: Path) -> None:
    record = {"a": 1, "@source": "s"}
    assert rule_of(folder, "models.py:Greedy").fault(record) is None
    assert record == {"a": 1, "@source": "s"}


def test_the_models_code_sees_a_failed_record_once(folder: Path) -> None:
    rule = rule_of(folder)
    assert isinstance(rule.check, OfModel)
    calls = rule.check._model.known.__func__.__globals__["calls"]  # type: ignore[attr-defined]
    record = {"sensor": "odd", "temp": 1}
    assert rule.fault(record) == rule.fault(record)
    assert calls == ["odd"]
    record["sensor"] = "a"
    assert rule.fault(record) is None


def test_a_fix_has_the_values_of_the_model(folder: Path) -> None:
    rule = rule_of(folder, on_error="fix")
    good = {"sensor": "a", "temp": 1.5, "more": "x"}
    assert rule.fault(good) is None
    bad = {"sensor": "a", "temp": "1.5", "more": "x"}
    assert rule.fault(bad) == "temp converted from '1.5'"
    assert rule.fix(bad) == ({"temp": 1.5}, "temp converted from '1.5'")
    hopeless = {"sensor": "a", "temp": "x"}
    assert rule.fault(hopeless) is not None
    assert rule.fix(hopeless) is None


def test_a_changed_file_of_the_model_is_noticed(folder: Path) -> None:
    rule, other = rule_of(folder), rule_of(folder, "models.py:Exact")
    assert isinstance(rule.check, OfModel)
    assert rule.check.is_current()
    (folder / "parts.py").write_text(PARTS + "    lon: float\n")
    assert not rule.check.is_current()
    again = rule_of(folder)
    record = {"sensor": "a", "temp": 1, "gps": {"lat": 1}}
    assert rule.fault(record) is None
    assert again.fault(record) == "gps.lon: missing"
    assert isinstance(other.check, OfModel)


@pytest.mark.parametrize(
    ("model", "message", "options"),
    [
        ("gone.py:Reading", "cannot read .*gone.py: No such file", {}),
        ("models.py:Readin", "there is no model 'Readin' in .*models.py: did you mean 'Reading'", {}),
        ("models.py:function", r"models.py:\d+: 'function' is no pydantic model", {}),
        ("models.py:number", "models.py: 'number' is no pydantic model", {}),
        ("models.py:BaseModel", "'BaseModel' is no pydantic model", {}),
        ("models.py:Unfinished", r"models.py:\d+: 'Unfinished': .*Nowhere", {}),
        ("models.py:Anything", "'Anything' is a RootModel, which has no fields to fix", {"on_error": "fix"}),
        ("broken.py:Reading", r"broken.py:2: ZeroDivisionError", {}),
        ("syntax.py:Reading", r"syntax.py:1: SyntaxError", {}),
        ("no_such_package:Reading", "ModuleNotFoundError: No module named 'no_such_package'", {}),
    ],
)
def test_a_model_that_cannot_be_used_is_refused(
    model: str, message: str, options: dict[str, Any], folder: Path
) -> None:
    (folder / "broken.py").write_text("x = 1\n1 / 0\n")
    (folder / "syntax.py").write_text("class (\n")
    with pytest.raises(ConfigError, match=message) as refused:
        rule_of(folder, model, name="r", **options)
    assert refused.value.keys == ("rules", 2, "model")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    | st.sampled_from(["\ud800", "1", "12.5", "odd", "broken", 10**400, b"\xff", "2026-01-31T08:00:00Z"]),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(st.sampled_from(["lat", "\ud800", "k"]), inner),
    max_leaves=4,
)  # fmt: skip
KEYS = st.sampled_from(["sensor", "temp", "at", "id", "gps", "raw", "more", "\ud800", "@peer"])


RULES: list[tuple[str, dict[str, Any]]] = [
    ("Reading", {}), ("Reading", {"strict": True}), ("Reading", {"on_error": "fix"}),
    ("Exact", {}), ("Exact", {"strict": True}), ("Exact", {"on_error": "fix"}),
    ("Anything", {}), ("Anything", {"strict": True}),
]  # fmt: skip


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> list[Rule]:
    folder = tmp_path_factory.mktemp("models")
    (folder / "models.py").write_text(MODELS)
    (folder / "parts.py").write_text(PARTS)
    return [rule_of(folder, f"models.py:{model}", **options) for model, options in RULES]


@given(record=st.dictionaries(KEYS, JSON))
def test_no_record_raises_and_a_fixed_record_is_good(rules: list[Rule], record: dict[str, Any]) -> None:
    before = repr(record)
    for rule in rules:
        fault = rule.fault(record)
        assert repr(record) == before
        assert fault is None or fault.encode()
        if fault is not None and rule.on_error == "fix" and (fixed := rule.fix(record)) is not None:
            values, _ = fixed
            assert rule.fault({**record, **values}) is None
