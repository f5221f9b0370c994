from typing import Any

import pytest

from streamd.core.batch import Batch
from streamd.core.columns import Columns, FlatColumns, RecordColumns
from streamd.core.schema import FieldSettings, Schema

NAMES = ("a", "b", "@source", "@peer", "@received_at", "c")


def both(peers: Any, times: Any) -> tuple[Columns, Columns]:
    flat = Batch.of([1, None, 2, "x", 1, "y"], "s", "p", peers, times, fields=("a", "b"))
    lifted = Batch.of([flat.record(index) for index in range(3)], "s", "p", peers, times)
    lifted.lift()
    return FlatColumns(flat), RecordColumns(lifted.records)


@pytest.mark.parametrize("peers", ["p:1", ["p:1", "p:2", "p:1"]])
@pytest.mark.parametrize("times", [5.0, [5.0, 6.25, 5.0]])
def test_both_kinds_of_batch_have_the_same_columns_and_records(peers: Any, times: Any) -> None:
    flat, dicts = both(peers, times)
    assert len(flat) == len(dicts) == 3
    for name in NAMES:
        assert list(flat.column(name)) == list(dicts.column(name))
        assert flat.different(name) == dicts.different(name)
    for index in range(3):
        assert list(flat.record(index).items()) == list(dicts.record(index).items())
        assert flat.metadata(index) == dicts.metadata(index)
    assert flat.records() == dicts.records()


def test_a_record_has_only_the_metadata_that_it_has() -> None:
    columns = RecordColumns([{"a": 1, "@peer": "p"}, {"@source": "s"}])
    assert columns.metadata(0) == {"@peer": "p"}
    assert columns.column("a") == [1, None]
    assert columns.different("a") == {1, None}


def test_values_that_cannot_be_in_a_set_are_the_callers_affair() -> None:
    with pytest.raises(TypeError):
        RecordColumns([{"a": []}]).different("a")


def flat_columns() -> FlatColumns:
    batch = Batch.of(
        [1, None, 2, "x", 3, "y"], "s", "p", ["p:1", "p:2", "p:3"], [5.0, 6.0, 7.0], fields=("a", "b")
    )
    return FlatColumns(batch)


def test_chosen_records_keep_their_values_senders_and_times() -> None:
    columns = flat_columns()
    every = columns.records()
    chosen = columns.chosen([True, False, True])
    assert chosen.records() == [chosen.record(0), chosen.record(1)] == [every[0], every[2]]
    assert chosen.values() == [1, None, 3, "y"]
    assert [chosen.peers[1], chosen.received_at[1], len(chosen)] == ["p:3", 7.0, 2]
    assert columns.records() == every
    assert columns.chosen([True] * 3) is columns
    assert columns.chosen([False] * 3).records() == columns.chosen([False] * 3).values() == []


def test_a_changed_field_keeps_its_place_and_a_new_one_follows_the_metadata() -> None:
    columns = flat_columns()
    changed = columns.with_columns({"a": [7, 8, 9], "z": [True, False, None]})
    assert list(changed.record(1).items()) == list(changed.records()[1].items()) == [
        ("a", 8), ("b", "x"), ("@source", "s"), ("@peer", "p:2"),
        ("@received_at", "1970-01-01T00:00:06.000000Z"), ("z", False),
    ]  # fmt: skip
    assert changed.values() == [7, None, 8, "x", 9, "y"]
    cut = changed.chosen([False, True, True])
    assert cut.column("z") == [False, None]
    again = cut.with_columns({"z": [1, 2]})
    assert again.records()[1]["z"] == 2
    assert again.added == ("z",)
    assert set(cut.changed) == {"a"}
    assert cut.added == ("z",)
    assert columns.values() == [1, None, 2, "x", 3, "y"]
    assert columns.column("a") == [1, 2, 3]


def test_names_of_fields_cannot_become_code() -> None:
    names = ("'", '": 1}', "\\", "\u2028", "{x}", "value_0", "é")
    batch = Batch.of(list(range(7)), "s", "p", "p:1", 5.0, fields=names)
    assert [record[name] for record in FlatColumns(batch).records() for name in names] == list(range(7))


SCHEMA = Schema("s", {"a": FieldSettings(type="int"), "b": FieldSettings(type="str", required=False)})


@pytest.mark.parametrize(
    ("name", "values", "fits"),
    [
        ("a", [4, 5, 6], True),
        ("a", [4, 5, None], False),
        ("a", [1, True, 1], False),
        ("a", [7, 7, 7], True),
        ("b", ["x", "x", "x"], True),
        ("b", ["x", None, ""], True),
        ("c", [1, 2, 3], False),
    ],
)
def test_only_declared_fields_with_good_values_fit_the_schema(
    name: str, values: list[Any], *, fits: bool
) -> None:
    assert flat_columns().fits(SCHEMA)
    assert flat_columns().with_columns({name: values}).fits(SCHEMA) is fits


def test_what_is_known_of_a_field_is_known_until_it_gets_other_values() -> None:
    columns = flat_columns()
    facts = columns.facts("a")
    assert (facts.kinds, facts.are_finite, list(facts.some)) == ({int}, False, [1, 2, 3])
    assert columns.with_columns({"b": ["x"] * 3}).facts("a") is facts
    assert columns.with_columns({"a": [0.5, 1.5, 2.5]}).facts("a").are_finite
    assert columns.chosen([True, False, True]).facts("a").values == [1, 3]
