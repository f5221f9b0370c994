"""Expressions, with the grammar of `core/expression_syntax.py`."""

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamd import registry
from streamd.core.columns import RecordColumns
from streamd.core.errors import BadData
from streamd.core.expression import Expression, ExpressionText
from streamd.core.expression_functions import FUNCTIONS, MAX_TEXT_CHARS
from streamd.core.settings import Settings

DOCUMENT = (Path(__file__).parents[2] / "docs/reference/expressions.md").read_text()
EXAMPLES = re.findall(r"^>>> (.+?) +# (\{.*\})\n(.+)$", DOCUMENT, re.MULTILINE)


def outcome(text: str, record: dict[str, Any]) -> Any:
    """The value, or why there is none."""
    try:
        expression = Expression(text)
    except ValueError:
        return "refused"
    try:
        return expression(record)
    except BadData as bad:
        return f"rejected: {bad.reason}"


@pytest.mark.parametrize(("text", "record", "shown"), EXAMPLES)
def test_the_document_says_what_is_so(text: str, record: str, shown: str) -> None:
    constants = {"None": None, "True": True, "False": False}
    verdict = shown == "refused" or shown.startswith("rejected")
    wanted = shown if verdict else constants[shown] if shown in constants else json.loads(shown)
    found = outcome(text, json.loads(record))
    assert (found, type(found)) == (wanted, type(wanted))


def test_every_example_of_the_document_was_found_and_every_function_is_in_it() -> None:
    assert len(EXAMPLES) == DOCUMENT.count(">>> ") > 40
    assert [name for name in FUNCTIONS if f"`{name}(" not in DOCUMENT] == []


def test_the_steps_in_the_document_are_accepted() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    (block,) = blocks
    pipeline = tomllib.loads(block)
    Expression(pipeline["sinks"][1]["where"])
    steps = pipeline["steps"]
    assert [step["type"] for step in steps] == ["filter", "set"]
    for step in steps:
        registry.load("steps", step.pop("type")).Config(**step)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os')", "there is no function __import__()"),
        ("a.__class__", "a name with __ before it must be quoted"),
        ("a.__class__.__mro__[1].__subclasses__()", "only the functions of the language can be called"),
        ("'a'.upper()", "only the functions of the language can be called"),
        ("'a'.upper", "only a field has parts"),
        ("(lambda: 1)()", "only the functions of the language can be called"),
        ("lambda: 1", "lambda is not part"),
        ("[x for x in y]", "a comprehension is not part"),
        ("{x for x in y}", "a comprehension is not part"),
        ("len(x for x in y)", "a comprehension is not part"),
        ("{'a': 1}", "a dict is not part"),
        ("{1}", "a set is not part"),
        ("[1, 2]", "a list that is not to the right of in is not part"),
        ("x == (1, 2)", "a tuple that is not to the right of in is not part"),
        ("f'{x}'", "an f-string is not part"),
        ("(x := 1)", "an assignment with := is not part"),
        ("max(*x)", "max() takes 2 to 64 arguments"),
        ("max(*x, *y)", "a starred value is not part"),
        ("9**9**9", "the operator ** is not part"),
        ("1 << 100", "the operator << is not part"),
        ("a | b", "the operator | (write or)"),
        ("~a", "the operator ~ is not part"),
        ("+a", "the sign + is not part"),
        ("a @ b", "the operator @ is not part"),
        ("9" * 100, "an integer must fit 64 bits"),
        ("9223372036854775808", "an integer must fit 64 bits"),
        ("9" * 4096, "an integer must fit 64 bits"),
        ("x > 1e999", "a number must fit a 64-bit float"),
        ("1j", "a constant is a text, a number"),
        ("b'x'", "a constant is a text, a number"),
        ("...", "a constant is a text, a number"),
        ("'\\ud800'", "half of a surrogate pair"),
        ("'\ud800'", "half of a surrogate pair"),
        ("field('\\ud800')", "half of a surrogate pair"),
        (r"'\d'", "invalid escape sequence"),
        ("x" * 10_000, "at most 4096 bytes"),
        ("数" * 2000, "at most 4096 bytes"),
        ("-" * 4000 + "1", "nested at most 64 levels"),
        ("not " * 1000 + "x", "nested at most 64 levels"),
        ("+".join("x" * 100), "nested at most 64 levels"),
        ("(" * 300 + "x" + ")" * 300, "too many nested parentheses"),
        ("a" + ".a" * 100, "nested at most 64 levels"),
        ("", "the expression is empty"),
        (" \n\t", "the expression is empty"),
        ("x\x00", "null bytes"),
        ("value >", "invalid syntax at the end of 'value >'"),
        ("x; y", "invalid syntax"),
        ("import os", 'field("import")'),
        ("class == 'a'", 'field("class")'),
        ("ﬁeld_a > 1", "look-alike characters for 'field_a'"),
        ("x == None", "write x is None"),
        ("None < x", "write x is None"),
        ("x is 3", "is compares with None only"),
        ("x is not y", "is compares with None only"),
        ("x is None is None", "is compares with None only"),
        ("3 is None", "a comparison of a constant with None never changes"),
        ("(-0) is None", "a comparison of a constant with None never changes"),
        ("active == true", "write True"),
        ("x == null", "write None"),
        ("x in (1, y)", "a list to the right of in holds only constants"),
        ("x in (1, None)", "only constants, without None"),
        ("x in [[1]]", "a list that is not to the right of in"),
        ("a[b]", "only a constant can be in []"),
        ("a[1:2]", "a slice is not part"),
        ("a[True]", "only a constant can be in []"),
        ("a[1.5]", "only a constant can be in []"),
        ("len(x)[0]", "only a field has parts"),
        ("field(x)", "field() takes one text in quotes"),
        ("field('a', 'b')", "field() takes one text in quotes"),
        ("field('@peer')", 'meta("peer")'),
        ("meta('colour')", "the argument of meta() is one of source, peer, received_at, flag"),
        ("lower()", "lower() takes 1 argument,"),
        ("round(1, 2, 3)", "round() takes 1 to 2 arguments"),
        ("round(1, ndigits=2)", "without names"),
        ("lowr(x)", "did you mean lower()?"),
        ("eval('1')", "there is no function eval()"),
    ],
)  # fmt: skip
def test_what_is_not_in_the_language_is_refused_with_a_clear_message(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        Expression(text)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("text", "record", "found"),
    [
        ("'a' * 1000000000", {}, "rejected: expr:type"),
        ("x * 1000000000", {"x": [1]}, "rejected: expr:type"),
        ("'%999999999d' % 1", {}, "rejected: expr:type"),
        ("x + y", {"x": [1], "y": [2]}, "rejected: expr:type"),
        ("x + 1", {"x": "a"}, "rejected: expr:type"),
        ("-x", {"x": "a"}, "rejected: expr:type"),
        ("-x", {"x": -(2**63)}, "rejected: expr:range"),
        ("x > 1", {"x": {"a": 1}}, "rejected: expr:type"),
        ("1 in x", {"x": 5}, "rejected: expr:type"),
        ("1 in x", {"x": "text"}, "rejected: expr:type"),
        ("x in y", {"x": [1], "y": {}}, "rejected: expr:type"),
        ("x // 0", {"x": 1}, "rejected: expr:zero"),
        ("x % 0.0", {"x": 1}, "rejected: expr:zero"),
        ("x * x", {"x": 1e300}, "rejected: expr:range"),
        ("x * x", {"x": 2**40}, "rejected: expr:range"),
        ("x + 1", {"x": 2**63 - 1}, "rejected: expr:range"),
        ("x - 1", {"x": -(2**63)}, "rejected: expr:range"),
        ("x + 0", {"x": 2**63 - 1}, 2**63 - 1),
        ("x + 0", {"x": -(2**63)}, -(2**63)),
        ("-x", {"x": 2**63 - 1}, 1 - 2**63),
        ("abs(x)", {"x": -(2**63)}, "rejected: expr:range"),
        ("int(x)", {"x": "-9223372036854775808"}, -(2**63)),
        ("int(x)", {"x": "9223372036854775808"}, "rejected: expr:range"),
        ("x - x", {"x": math.inf}, "rejected: expr:range"),
        ("x / 1", {"x": 10**400}, "rejected: expr:range"),
        ("abs(x)", {"x": math.nan}, "rejected: expr:range"),
        ("x > 1", {"x": math.nan}, False),
        ("float('nan')", {}, "rejected: expr:range"),
        ("float('1e999')", {}, "rejected: expr:range"),
        ("float(x)", {"x": "9" * 5000}, "rejected: expr:value"),
        ("int(x)", {"x": "1_000"}, "rejected: expr:value"),
        ("int(x)", {"x": "\u0661"}, "rejected: expr:value"),
        ("int(x)", {"x": 1e300}, "rejected: expr:range"),
        ("int(x)", {"x": math.nan}, "rejected: expr:range"),
        ("int(x)", {"x": -2.9}, -2),
        ("int(x)", {"x": [1]}, "rejected: expr:type"),
        ("round(5, -1000000000)", {}, "rejected: expr:range"),
        ("round(x)", {"x": math.inf}, "rejected: expr:range"),
        ("round(x, 0.5)", {"x": 1}, "rejected: expr:type"),
        ("round(x, -1)", {"x": 2**63 - 1}, "rejected: expr:range"),
        ("min(1, 'a')", {}, "rejected: expr:type"),
        ("min(x, 1)", {}, "rejected: expr:type"),
        ("min('b', 'a')", {}, "a"),
        ("max('b', 'c', 'a')", {}, "c"),
        ("max(x, 1)", {"x": "a"}, "rejected: expr:type"),
        ("max(x, 'a')", {"x": 1}, "rejected: expr:type"),
        ("max(x, y)", {"x": [1], "y": [2]}, "rejected: expr:type"),
        ("max(x, 1)", {"x": None}, "rejected: expr:type"),
        ("lower(x)", {}, "rejected: expr:type"),
        ("strip(x)", {"x": " a\n"}, "a"),
        ("contains(x, 1)", {"x": "a1"}, "rejected: expr:type"),
        ("contains(x, 1)", {}, False),
        ("contains(x, 1)", {"x": [1]}, True),
        ("contains('a1', x)", {}, False),
        ("startswith(x, y)", {"x": "ab", "y": 1}, "rejected: expr:type"),
        ("startswith(x, y)", {"x": 1, "y": "1"}, "rejected: expr:type"),
        ("startswith(x, 'a')", {"x": "ab"}, True),
        ("startswith(x, 'b')", {"x": "ab"}, False),
        ("startswith(x, 'a')", {}, False),
        ("startswith('ab', x)", {}, False),
        ("endswith(x, y)", {"x": 1, "y": "1"}, "rejected: expr:type"),
        ("endswith(x, 'a')", {"x": "ab"}, False),
        ("endswith('ab', x)", {}, False),
        ("endswith(x, 'b')", {"x": "ab"}, True),
        ("endswith(x, 'b')", {}, False),
        ("str(x)", {"x": {"a": 1}}, "rejected: expr:type"),
        ("str(x)", {}, "rejected: expr:type"),
        ("bool(x)", {"x": []}, False),
        ("coalesce(x, y)", {}, None),
        ("-9223372036854775808", {}, -(2**63)),
        ("a[0].b", {"a": [{"b": 1}]}, 1),
        ("a[5]", {"a": [1]}, None),
        ("a[1]", {"a": [1]}, None),
        ("a[0]", {"a": []}, None),
        ("a[-1]", {"a": [1, 2]}, 2),
        ("a[-2]", {"a": [1, 2]}, 1),
        ("a[-3]", {"a": [1, 2]}, None),
        ("a[0]", {"a": {"0": 1}}, None),
        ("a['0']", {"a": [1]}, None),
        ("a[0]", {"a": "text"}, None),
        ("数据 > 1", {"数据": 2}, True),
        ("(a if b else c) > 1", {"b": True}, False),
        ("(a or b) > 1", {"a": 0, "b": 2}, True),
        ("(a < 1) == (b < 1)", {"a": 0, "b": 0}, True),
        ("1 < a < b < 9", {"a": 2, "b": 3}, True),
        ("1 < a < b < 9", {"a": 2}, False),
        ("1 < (a or c) < (b or c)", {"a": 2, "b": 3}, True),
        ("a not in b", {"b": [1]}, False),
        ("a != b", {}, False),
        ("get", {"get": 1}, 1),
        ("field_0 + record", {"field_0": 1, "record": 2}, 3),
    ],
)  # fmt: skip
def test_every_record_has_a_value_or_a_reason(text: str, record: dict[str, Any], found: Any) -> None:
    assert outcome(text, record) == found


def test_a_text_grows_to_the_bound_and_not_beyond() -> None:
    half = "a" * (MAX_TEXT_CHARS // 2)
    assert len(outcome("x + x", {"x": half})) == MAX_TEXT_CHARS
    assert outcome("x + x + 'a'", {"x": half}) == "rejected: expr:range"
    assert outcome("upper(x)", {"x": "\u0390" * MAX_TEXT_CHARS}) == "rejected: expr:range"


def test_values_that_are_not_json_cost_their_record_at_most() -> None:
    class Hostile:
        def __gt__(self, other: object) -> bool:
            raise KeyError(other)

        def __bool__(self) -> bool:
            raise SyntaxError

    endless: list[Any] = []
    endless.append(endless)
    other: list[Any] = []
    other.append(other)
    assert outcome("x > 1", {"x": Hostile()}) == "rejected: expr:type"
    assert outcome("not x", {"x": Hostile()}) == "rejected: expr:type"
    assert outcome("x == y", {"x": endless, "y": other}) == "rejected: expr:range"


def test_a_detail_names_what_did_not_fit() -> None:
    with pytest.raises(BadData, match="expr:type: \\* does not work on None and int"):
        Expression("value * 2")({})
    with pytest.raises(BadData, match="'>' not supported between instances of 'str' and 'int'"):
        Expression("value > 2")({"value": "3"})


def test_fields_of_a_schema_are_checked_with_a_suggestion() -> None:
    fields = {"value", "sensor"}
    assert Expression("value.part > 1 and meta('peer') is None", fields)({"value": {"part": 2}}) is True
    with pytest.raises(ValueError, match=r"there is no field 'sensr': did you mean 'sensor'\?"):
        Expression("sensr == 'x'", fields)
    with pytest.raises(ValueError, match="there is no field 'q': there are sensor, value"):
        Expression("field('q') == 1", fields)


def test_the_right_side_is_looked_at_only_where_it_decides() -> None:
    assert outcome("x != 0 and 1 / x > 2", {"x": 0}) is False
    assert outcome("x == 0 or 1 / x > 2", {"x": 0}) is True


def test_a_field_of_the_configuration_reports_a_fault_at_its_own_path() -> None:
    class Step(Settings):
        where: dict[str, ExpressionText]

    assert Step(where={"a": "x > 1"}).where == {"a": "x > 1"}
    with pytest.raises(ValidationError) as refused:
        Step(where={"a": "x > 1", "b": "x >"})
    (fault,) = refused.value.errors()
    assert fault["loc"] == ("where", "b")
    assert "invalid syntax" in fault["msg"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)
RECORDS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)
ATOMS = st.sampled_from(
    [
        "a",
        "b",
        "c",
        "a.b",
        "a[0]",
        "b['c']",
        "0",
        "-1",
        "1.5",
        "9223372036854775807",
        "'x'",
        "''",
        "None",
        "True",
    ]
)


def _combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(
        [
            "+",
            "-",
            "*",
            "/",
            "//",
            "%",
            "==",
            "!=",
            "<",
            "<=",
            ">",
            ">=",
            "in",
            "not in",
            "and",
            "or",
            "is",
            "**",
        ]
    )
    calls = st.sampled_from(sorted(FUNCTIONS))
    return (
        st.tuples(inner, operators, inner).map(lambda parts: f"({' '.join(parts)})")
        | st.tuples(st.sampled_from(["not ", "-"]), inner).map(lambda parts: f"({''.join(parts)})")
        | st.tuples(calls, st.lists(inner, min_size=1, max_size=2)).map(
            lambda c: f"{c[0]}({', '.join(c[1])})"
        )
        | st.tuples(inner, inner, inner).map(lambda parts: "({} if {} else {})".format(*parts))
        | inner.map(lambda part: f"({part} is None)")
    )


@given(st.recursive(ATOMS, _combined, max_leaves=8), st.lists(RECORDS, max_size=3))
def test_any_expression_gives_a_value_or_bad_data_and_its_ways_agree(
    text: str, records: list[dict[str, Any]]
) -> None:
    try:
        expression = Expression(text)
    except ValueError:
        return
    true, failed = [], []
    for record in records:
        try:
            value = expression(record)
        except BadData as bad:
            assert bad.reason in {"expr:type", "expr:zero", "expr:range", "expr:value"}  # noqa: PT017 - either way is fine
            failed.append(record)
            with pytest.raises(BadData):
                expression.test(record)
        else:
            assert expression.test(record) is bool(value)
            if value:
                true.append(record)
    chosen, rejects = expression.select(records)
    assert list(map(id, chosen)) == list(map(id, true))
    assert [id(record) for record, _ in rejects] == list(map(id, failed))
    columns = RecordColumns(records)
    values, tests = expression.values(columns), expression.tests(columns)
    assert (values is None) is (tests is None) is bool(failed)
    if values is not None:
        assert repr(values) == repr(list(map(expression, records)))
        assert tests == list(map(expression.test, records))


@given(st.text(max_size=60) | st.text("abx01.()[]'\"=<>!+-*/%, \n\\andortif", max_size=40))
def test_any_text_is_an_expression_or_a_value_error(text: str) -> None:
    try:
        expression = Expression(text)
    except ValueError:
        return
    for record in ({}, {"a": 1, "b": "x", "x": [1]}):
        try:
            expression(record)
        except BadData as bad:
            assert bad.reason.startswith("expr:")  # noqa: PT017 - either way is fine
