"""A mistake in a configuration fails its test, and the difference says where and how.

This is also about `testing/outcome.py`.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.testing.compare import same
from tests.testing.conftest import PLANT, Suite

GOOD = """
[[tests]]
name = "a day in the lab"
inputs = [
  { source = "lab", text = '{"sensor":"a","value":21.5}' },
  { source = "floor", text = '{"sensor":"b","value":95.0}' },
  { source = "floor", text = '{"sensor":"test","value":1}' },
  { source = "lab", text = '{"sensor":"a","value":-60}' },
  { source = "floor", text = '{"sensor":"c","value":10.0,"more":1}' },
  { source = "lab", at = 2026-01-01T00:00:05Z, text = '{"sensor":"c","value":12.0}' },
]
[tests.expect]
filtered = 1
rejected = [
  { reason = "schema:range", stage = "decode", source = "lab", detail = "below -50" },
  { reason = "row:extra", payload = { sensor = "c", value = 10.0, more = 1, warm = false } },
]
counters = { "sources.floor.unterminated" = 0 }
[tests.expect.sinks.readings]
rows = [
  { sensor = "a", value = 21.5, warm = true },
  { sensor = "b", value = 95.0, warm = true },
  { sensor = "c", value = 12.0, warm = false },
]
[tests.expect.sinks.alarms]
rows = [{ sensor = "b", value = 95.0, warm = true }]
"""


def test_the_test_passes_without_a_mistake(suite: Suite) -> None:
    suite.passes(GOOD)


MISTAKES = {
    "a field with another name": (
        "fields = { warm =",
        "fields = { hot =",
        ["warm  expected  true", "hot   expected  nothing", "dead letter 1 of those kept is not expected"],
    ),
    "a wrong condition": (
        "value > 20.0",
        "value > 30.0",
        ["sink readings, row 1 differs", "warm  expected  true", "      got       0"],
    ),
    "a record that is lost in a filter": (
        "sensor != 'test'",
        "sensor == 'b'",
        ['sink readings, row 1 is missing: sensor = "a", value = 21.5', "in all  expected  1", "got       4"],
    ),
    "a condition of a sink that lets too many through": (
        "value > 90",
        "value > 20",
        ['sink alarms, row 1 of those it holds is too many: sensor = "a"'],
    ),
    "a condition of a sink that lets nothing through": (
        "value > 90",
        "value > 900",
        ['sink alarms, row 1 is missing: sensor = "b"'],
    ),
    "a text in place of a truth": (
        'warm = "value > 20.0"',
        "warm = \"'yes'\"",
        ["dead letter", "reason"],
    ),
    "another reason of a reject": (
        "ge = -50",
        "ge = -70",
        [
            'sink readings, row 3 of those it holds is too many: sensor = "a", value = -60.0',
            "dead letter 1 is missing",
        ],
    ),
    "a bound that rejects good records": (
        "ge = -50",
        "ge = 15",
        [
            "dead letter 3 of those kept is not expected",
            'sink readings, row 3 is missing: sensor = "c", value = 12.0',
        ],
    ),
    "a filter that lets too many through": (
        "sensor != 'test'",
        "sensor != 'tests'",
        ['sink readings, row 3 of those it holds is too many: sensor = "test"', "in all  expected"],
    ),
    "a sink that takes any field": (
        'extra = "reject"',
        'extra = "drop"',
        [
            'sink readings, row 3 of those it holds is too many: sensor = "c", value = 10.0',
            "dead letter 2 is missing",
        ],
    ),
    "a sink that is not named": (
        'sinks = ["readings", { name',
        'sinks = ["readings", "copy", { name',
        ["sink copy holds 4 records, and the test expects none"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_configuration_is_shown_by_field(mistake: str, suite: Suite) -> None:
    old, new, words = MISTAKES[mistake]
    assert old in PLANT
    config = PLANT.replace(old, new) + ('[sinks.copy]\ntype = "stdout"\n' if '"copy"' in new else "")
    explanation = suite.fails(GOOD, config)

    assert not [word for word in words if word not in explanation], explanation
    first = next(line for line in explanation.splitlines() if "plant.toml:" in line)
    line = int(first.rpartition("plant.toml:")[2].rstrip(")"))
    assert suite.path.read_text().splitlines()[line - 1].strip(), "the line of the expectation"


def test_another_order_of_right_rows_is_said_as_such(suite: Suite) -> None:
    swapped = GOOD.replace('  { source = "lab", text = \'{"sensor":"a","value":21.5}\' },\n', "").replace(
        "]\n[tests.expect]",
        '  { source = "lab", text = \'{"sensor":"a","value":21.5}\' },\n]\n[tests.expect]',
        1,
    )

    explanation = suite.fails(swapped)

    assert "sink readings, row 1 is row 3 of those it holds: only the order differs" in explanation
    assert "expected" not in explanation.replace("is not expected", "")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("value = 21.5, warm", "value = 21, warm", "expected  21\n"),
        ("value = 21.5, warm", 'value = "21.5", warm', 'expected  "21.5"'),
        ("value = 21.5, warm", "warm", "expected  nothing"),
        ("value = 21.5, warm = true", "value = 21.5, warm = true, x = 1", "x  expected  1"),
        ("filtered = 1", "filtered = 2", "in all  expected  2"),
        ("filtered = 1", "", "main  expected  0"),
        ("filtered = 1", "filtered = { main = 3 }", "main  expected  3"),
        ('"schema:range"', '"schema:type"', 'reason  expected  "schema:type"'),
        ("below -50", "above 50", "detail  expected"),
        ("more = 1, warm", "more = 2, warm", "payload  expected"),
        ('"sources.floor.unterminated" = 0', '"sources.floor.unterminated" = 1', "value  expected  1"),
        ("filtered = 1", "filtered = 1\ndropped = 1", "in all  expected  1"),
    ],
)
def test_a_wrong_expectation_fails(old: str, new: str, words: str, suite: Suite) -> None:
    assert old in GOOD
    assert words in suite.fails(GOOD.replace(old, new, 1))


def one(expect: str, sink: str = "readings") -> str:
    return f"""
[[tests]]
name = "one"
inputs = [{{ source = "floor", records = [
  {{ sensor = "a", value = 21.5 }}, {{ sensor = "b", value = 95.0 }},
] }}]
[tests.expect.sinks.{sink}]
{expect}
"""


ALARM = "[tests.expect.sinks.alarms]\ncount = 1\n"


def test_rows_that_are_contained_may_have_others_between_them(suite: Suite) -> None:
    first, second = (
        "{ sensor = 'a', value = 21.5, warm = true }",
        "{ sensor = 'b', value = 95.0, warm = true }",
    )
    suite.passes(one(f"contains = true\nrows = [{second}]") + ALARM)
    suite.passes(one(f"contains = true\nrows = [{first}, {second}]") + ALARM)

    wrong = suite.fails(one(f"contains = true\nrows = [{second}, {first}]") + ALARM)
    assert "row 2 is there, but before row 1" in wrong
    wrong = suite.fails(one("contains = true\nrows = [{ sensor = 'a', value = 1.0, warm = true }]") + ALARM)
    assert "row 1 is missing; the closest one differs" in wrong
    assert "value  expected  1.0" in wrong
    assert "sensor" not in wrong, "only the field that differs is shown"


def test_any_match_is_not_enough(suite: Suite) -> None:
    """A row twice in the expectation has to be there twice."""
    row = "{ sensor = 'b', value = 95.0, warm = true }"
    assert "row 2" in suite.fails(one(f"contains = true\nrows = [{row}, {row}]") + ALARM)


def test_fields_can_be_ignored_and_metadata_be_named(suite: Suite) -> None:
    suite.passes(one("ignore = ['value', 'warm']\nrows = [{ sensor = 'a' }, { sensor = 'b' }]") + ALARM)
    received = 'received_at = 2026-01-01T00:00:00Z, source = "floor", peer = "192.0.2.1:5000"'
    rows = ", ".join(
        f"{{ sensor = '{sensor}', value = {value}, warm = true, {received} }}"
        for sensor, value in (("a", 21.5), ("b", 95.0))
    )
    suite.passes(one(f"rows = [{rows}]") + ALARM)
    wrong = suite.fails(one(f"rows = [{rows.replace('floor', 'lab')}]") + ALARM)
    assert wrong.count('source  expected  "lab"') == 2


def test_lines_are_compared_as_they_are(suite: Suite) -> None:
    readings = "[tests.expect.sinks.readings]\ncount = 2\n"
    line = '{"sensor":"b","value":95.0,"warm":true}'
    suite.passes(one(f"lines = ['{line}']", "alarms") + readings)
    assert "line  expected" in suite.fails(one(f"lines = ['{line} ']", "alarms") + readings)
    assert "is a table" in suite.fails(one("lines = ['x']") + ALARM)


def test_a_number_of_records_is_compared(suite: Suite) -> None:
    suite.passes(one("count = 2") + ALARM)
    assert "count  expected  3" in suite.fails(one("count = 3") + ALARM)


@pytest.mark.parametrize(
    ("wanted", "got", "in_table", "equal"),
    [
        (True, 1, True, True),
        (True, True, True, True),
        (1, True, True, False),
        (True, 1, False, False),
        (1, True, False, False),
        (1, 1.0, True, False),
        (0.3, 0.1 + 0.2, True, True),
        (0.3, 0.30001, True, False),
        ({"a": [1]}, '{"a": [1]}', True, True),
        ({"a": [1]}, '{"a": [1]}', False, False),
        ({"a": [True]}, '{"a": [1]}', True, False),
        ([1], "no json", True, False),
        ("1", 1, True, False),
        ({"a": 1}, {"a": 1, "b": None}, False, True),
        ("[null, 1]", [None, 1], False, True),
        ("[null, 1]", [1, None], False, False),
    ],
)
def test_values_are_equal_with_their_types(wanted: Any, got: Any, in_table: bool, equal: bool) -> None:
    assert same(wanted, got, in_table=in_table) is equal


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.booleans())
def test_every_value_equals_itself(value: Any, in_table: bool) -> None:
    assert same(value, value, in_table=in_table)


BOOLS = """
[sources.lab]
type = "udp"
listen = "127.0.0.1:1"
codec = "json"
[pipelines.main]
sources = ["lab"]
sinks = ["all"]
[sinks.all]
type = "sqlite"
path = "all.db"
table = "all"
"""
OF_BOOLS = """
[[tests]]
name = "a table of whole records"
inputs = [{ source = "lab", text = '{"on":true}' }, { source = "lab", text = '{"on":1}' }]
[tests.expect.sinks.all]
rows = [{ on = %s }, { on = %s }]
"""


def test_a_boolean_in_a_whole_record_is_no_number(suite: Suite) -> None:
    suite.passes(OF_BOOLS % ("true", 1), BOOLS)
    explanation = suite.fails(OF_BOOLS % (1, "true"), BOOLS)
    assert "row 1 differs" in explanation
    assert "on  expected  1" in explanation
    assert "    got       true" in explanation
    assert "row 2" not in explanation  # true is 1 in a table, because SQLite has no booleans
