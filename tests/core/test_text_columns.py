from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.core.errors import BadData
from streamd.core.text_columns import all_of_schema
from streamd.core.text_values import of_schema
from tests.codecs.cases import schema_of

OPTIONAL = schema_of(
    **{
        name: {"type": kind, "required": False}
        for name, kind in (("t", "timestamp"), ("s", "str"), ("n", "int"), ("x", "float"), ("b", "bool"))
    }
)
LIMITED = schema_of(s="str", n={"type": "int", "ge": -5, "le": 5}, x={"type": "float", "le": 100})
STRANGE = schema_of(j={"type": "json", "required": False}, a={"type": "any", "required": False})
TEXTS = st.sampled_from(
    [
        "", "1", "-0", "+1", "007", " 1", "1 ", "\n1", "1.0", "1e3", "-0.0", ".5", "5.", "1,2", "1e999",
        "nan", "9223372036854775807", "9223372036854775808", "9007199254740993", "1" * 401,
        "0." + "0" * 400 + "1", "0.1", "true", "no", "Yes", " t", "text", "2026-01-31T08:00:00Z",
        "2026-01-31T08:00:00.000000Z", "1.5",
        "{}", "[1]", "é",
    ]
)  # fmt: skip
RECORDS = st.lists(
    st.dictionaries(st.sampled_from(["t", "s", "n", "x", "b", "j", "a", "more"]), TEXTS, max_size=6),
    min_size=1, max_size=4,
)  # fmt: skip
GOOD = st.lists(
    st.fixed_dictionaries(
        {
            "s": st.sampled_from(["a", "é"]),
            "n": st.sampled_from(["1", "-5", "3"]),
            "x": st.sampled_from(["1", "0.5"]),
        },
        optional={"b": st.just("true"), "t": st.just("2026-01-31T08:00:00Z")},
    ),
    min_size=1, max_size=4,
)  # fmt: skip


@settings(max_examples=200)
@given(records=RECORDS | GOOD, typed=st.booleans())
def test_columns_hold_what_one_record_after_the_other_gives(
    records: list[dict[str, Any]], typed: bool
) -> None:
    for schema in (OPTIONAL, LIMITED, STRANGE):
        made = all_of_schema([record.copy() for record in records], schema, typed=typed)
        if made is not None:
            rows, are_structs = made
            dicts = list(map(schema.to_dict, rows)) if are_structs else rows
            alone = [of_schema(record.copy(), schema) for record in records]
            assert repr(dicts) == repr(alone)  # also the order, the types, and the sign of zero


def test_usual_records_are_typed_together() -> None:
    record = {"s": "a", "n": "1", "x": "0.5"}
    structs, are_structs = all_of_schema([record, record], LIMITED, typed=True) or ([], False)
    assert are_structs
    assert structs == [LIMITED.struct("a", 1, 0.5)] * 2
    dicts, are_structs = all_of_schema([record | {"more": "1"}, record], LIMITED, typed=True) or ([], True)
    assert not are_structs
    assert dicts == [{"s": "a", "n": 1, "x": 0.5, "more": "1"}, {"s": "a", "n": 1, "x": 0.5}]
    optional, _ = all_of_schema(
        [{"b": True}, {"b": " Off"}, {"t": "2026-01-31T09:00+01:00"}], OPTIONAL, typed=False
    ) or (
        [],
        0,
    )
    assert optional == [
        dict.fromkeys(OPTIONAL.names) | {"b": True},
        dict.fromkeys(OPTIONAL.names) | {"b": False},
        dict.fromkeys(OPTIONAL.names) | {"t": "2026-01-31T08:00:00.000000Z"},
    ]


@pytest.mark.parametrize(
    "record", [{"s": "a", "n": "6", "x": "1"}, {"s": "a", "n": "1"}, {"s": "a", "n": "x", "x": "1"}]
)
def test_a_record_that_does_not_fit_is_left_to_the_check_of_each(record: dict[str, Any]) -> None:
    assert all_of_schema([{"s": "a", "n": "1", "x": "0.5"}, record], LIMITED, typed=True) is None
    with pytest.raises(BadData):
        of_schema(record, LIMITED)
