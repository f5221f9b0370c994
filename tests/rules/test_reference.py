import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.errors import ConfigError
from streamd.lookup_tables.table import TableFault
from streamd.rules.compiled import CompiledRules
from streamd.rules.reference import Reference
from streamd.rules.rule import Rule
from streamd.rules.settings import RuleSettings

SENSORS = "line,unit,site\n1,1,roof\n1,2,roof\n007,3,yard\n,4,\n"


def rule_of(folder: Path, known: frozenset[str] | None = None, **options: Any) -> Rule:
    (folder / "sensors.csv").write_text(SENSORS)
    given: dict[str, Any] = {"check": "reference", "path": "sensors.csv", "name": "known", **options}
    rule = Rule(RuleSettings(**given), known, 0, folder)
    assert isinstance(rule.check, Reference)
    rule.check.table.open()
    return rule


def test_a_value_is_in_a_column_in_which_values_may_repeat(tmp_path: Path) -> None:
    rule = rule_of(tmp_path, field="site")
    faults = [rule.fault({"site": value}) for value in ("roof", "yard", "", None, "Roof", ["roof"])]
    assert faults == [
        None, None, None, None, "'Roof' is not in sensors.csv", "['roof'] is not in sensors.csv",
    ]  # fmt: skip
    assert rule.fault({}) is None


def test_numbers_are_compared_as_texts(tmp_path: Path) -> None:
    rule = rule_of(tmp_path, field="v", columns=["line"])
    good = [
        value for value in (1, 1.0, "1", "007", 7, "7", True, 10**5000) if rule.fault({"v": value}) is None
    ]
    assert good == [1, 1.0, "1", "007"]


def test_several_fields_are_in_one_row_and_a_null_among_them_passes(tmp_path: Path) -> None:
    rule = rule_of(tmp_path, fields=["line", "u"], columns=["line", "unit"])
    assert rule.fault({"line": 1, "u": 2}) is None
    assert rule.fault({"line": "007", "u": 3}) is None
    assert rule.fault({"line": 1, "u": 3}) == "1, 3 is not in sensors.csv"
    assert rule.fault({"line": 9, "u": None}) is None
    assert rule.fault({"line": 9}) is None
    assert rule.field == "line, u"


def test_a_table_of_sqlite(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "plant.db")) as database:
        database.execute("CREATE TABLE sensors (id INTEGER, kind TEXT)")
        database.execute("INSERT INTO sensors VALUES (7, 'temp'), (8, NULL)")
        database.commit()
    rule = rule_of(tmp_path, path="plant.db", table="sensors", field="id")
    assert [rule.fault({"id": value}) for value in (7, "8", 9)] == [None, None, "9 is not in plant.db"]


def test_a_fix_fills_a_constant(tmp_path: Path) -> None:
    rule = rule_of(tmp_path, field="site", on_error="fix", fill="nowhere")
    assert rule.fix({"site": "Roof"}) == ({"site": "nowhere"}, "filled, was 'Roof'")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 4)
    | st.floats()
    | st.sampled_from(["1", "roof", "\ud800", 10**400]),
    lambda inner: st.lists(inner, max_size=1) | st.dictionaries(st.just("k"), inner, max_size=1),
    max_leaves=2,
)


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> list[Rule]:
    folder = tmp_path_factory.mktemp("tables")
    return [rule_of(folder, field="line"), rule_of(folder, fields=["line", "unit"])]


@given(record=st.dictionaries(st.sampled_from(["line", "unit"]), VALUES))
def test_the_fast_and_the_slow_way_agree(rules: list[Rule], record: dict[str, Any]) -> None:
    for rule in rules:
        judged: list[Any] = []
        CompiledRules([rule]).loop([record], judged.append)
        assert bool(judged) == (rule.fault(record) is not None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"field": "sitr"}, "there is no column 'sitr': did you mean 'site'"),
        ({"field": "site", "path": "gone.csv"}, "gone.csv: No such file"),
        ({"field": "site", "max_size": "10B"}, "larger than max_size"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(TableFault, match=message):
        rule_of(tmp_path, **options)


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no field 'sit': did you mean 'site'") as refused:
        rule_of(tmp_path, frozenset({"site"}), fields=["site", "sit"])
    assert refused.value.keys == ("rules", 0, "fields")


def test_a_changed_table_is_read_again_and_a_broken_one_is_not_used(tmp_path: Path) -> None:
    rule = rule_of(tmp_path, field="site")
    assert isinstance(rule.check, Reference)
    table, new = rule.check.table, tmp_path / "new.csv"
    for text in ("line\n", "line,unit,site\n2,1,cellar\n"):
        new.write_text(text)
        new.replace(tmp_path / "sensors.csv")
        table.check()
    assert rule.fault({"site": "cellar"}) is None
    assert rule.fault({"site": "roof"}) is not None
    assert table._counters.numbers() == {"reads": 2, "failed_reads": {"columns": 1}}
