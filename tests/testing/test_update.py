"""`--update` writes what differs and keeps the rest of the file as it is."""

import tomllib
from pathlib import Path

import pytest

from streamd.core.errors import ConfigError
from streamd.testing.update import update
from tests.testing.conftest import PLANT, Suite

NEW = """
# the first test
[[tests]]
name = "first"      # a name
inputs = [
  # what a sensor sends
  { source = "lab", text = '{"sensor":"a","value":21.5}' },
  { source = "floor", text = '{"sensor":"test","value":1}' },
  { source = "lab", text = 'no json' },
]

# the second test
[[tests]]
name = "second"
inputs = [{ source = "floor", text = '{"sensor":"b","value":95.0,"more":1}' }]   # the end
"""


def updated(suite: Suite, tests: str) -> str:
    """The tests as `--update` writes them. They pass then, and a second update changes nothing."""
    assert update(suite.run(tests, update=True)) == [suite.path]
    text = suite.path.read_text()
    again = suite.again()
    assert all(result.passed for result in again), [result.differences for result in again]
    assert update(again) == []
    assert suite.path.read_text() == text
    assert text.startswith(PLANT)
    return text.removeprefix(PLANT)


def test_the_whole_outcome_of_a_new_test_is_written(suite: Suite) -> None:
    text = updated(suite, NEW)

    for line in NEW.splitlines():
        assert line in text.splitlines(), "comments and the form of the inputs stay"
    first, second = tomllib.loads(text)["tests"]
    assert first["expect"] == {
        "sinks": {"readings": {"rows": [{"sensor": "a", "value": 21.5, "warm": 1}]}},
        "filtered": {"main": 1},
        "rejected": [{"reason": "json:syntax", "stage": "decode", "pipeline": "main", "payload": "no json"}],
    }
    assert second["expect"]["sinks"] == {
        "alarms": {"rows": [{"sensor": "b", "value": 95.0, "more": 1, "warm": True}]}
    }
    assert second["expect"]["rejected"][0]["payload"] == {
        "sensor": "b", "value": 95.0, "more": 1, "warm": True,
    }  # fmt: skip


WAYS_TO_EXPECT = [
    "",
    "expect = { filtered = 2 }\n",
    "[tests.expect]\nfiltered = 2   # none\n# of this test\n",
    "[tests.expect.sinks.readings]\ncount = 2\n",
    '[[tests.expect.rejected]]\nreason = "json:syntax"\n',
]


@pytest.mark.parametrize("expect", WAYS_TO_EXPECT)
def test_what_is_written_comes_before_the_comments_on_the_next_test(expect: str, suite: Suite) -> None:
    reading = """{"sensor":"a","value":21.5}"""
    first = f"""
[[tests]]
name = "first"
inputs = [{{ source = "lab", text = '{reading}' }}, {{ source = "lab", text = 'no json' }}]
"""
    behind = f"""
# The second test
# has two lines.

[[tests]]
name = "second"
inputs = [{{ source = "lab", text = '{reading}' }}]
[tests.expect.sinks.readings]
count = 1
"""
    text = updated(suite, first + expect + behind)
    assert text.startswith(first.rstrip("\n"))
    assert text.endswith(behind)
    assert text.index("json:syntax") < text.index("# The second test")
    assert ("# of this test" in text) == ("# of this test" in expect)


def test_a_new_test_in_which_nothing_comes_out_expects_empty_sinks(suite: Suite) -> None:
    text = updated(suite, '\n[[tests]]\nname = "nothing"\ninputs = [{ advance = "1s" }]\n')
    assert tomllib.loads(text)["tests"][0]["expect"] == {
        "sinks": {"readings": {"rows": []}, "alarms": {"rows": []}}
    }


WRITTEN = """
[[tests]]
name = "one"
inputs = [{ source = "floor", text = '{"sensor":"b","value":95.0}' }]
[tests.expect]       # the outcome
filtered = 2         # wrong
counters = { "sources.floor.truncated" = 4 }
[tests.expect.sinks.readings]
ignore = ["warm"]    # not compared
rows = [
  { sensor = "b", value = 95.0 },   # this one is right
]
[tests.expect.sinks.alarms]
count = 3
"""


def test_only_what_differs_is_written(suite: Suite) -> None:
    text = updated(suite, WRITTEN)

    changed = [
        (old, new) for old, new in zip(WRITTEN.splitlines(), text.splitlines(), strict=True) if old != new
    ]
    assert changed == [
        ("filtered = 2         # wrong", "filtered = 0         # wrong"),
        (
            'counters = { "sources.floor.truncated" = 4 }',
            'counters = { "sources.floor.truncated" = 0 }',
        ),
        ("count = 3", "count = 1"),
    ]


def test_ignored_fields_and_metadata_are_written_only_if_they_were_expected(suite: Suite) -> None:
    wrong = WRITTEN.replace('{ sensor = "b", value = 95.0 }', '{ sensor = "c", source = "lab" }')
    text = updated(suite, wrong)
    assert tomllib.loads(text)["tests"][0]["expect"]["sinks"]["readings"]["rows"] == [
        {"sensor": "b", "value": 95.0, "source": "floor"}
    ]


def test_dead_letters_written_as_tables_are_replaced(suite: Suite) -> None:
    tests = NEW + '[[tests.expect.rejected]]\nreason = "x"\n'
    text = updated(suite, tests)
    assert tomllib.loads(text)["tests"][1]["expect"]["rejected"][0]["reason"] == "row:extra"


@pytest.mark.parametrize(
    "value", ['"quoted \\"text\\" \\u0007 é"', "1e300", "-0.0", "true", "[1, { a = 2 }]"]
)
def test_every_value_is_written_as_it_is_read(value: str, suite: Suite) -> None:
    config = PLANT.replace('extra = "reject"', 'extra = "json"')
    suite.config = config
    tests = f'\n[[tests]]\nname = "v"\ninputs = [{{ source = "floor", records = [{{ v = {value} }}] }}]\n'
    tests = tests.replace("v = ", "sensor = 'a', value = 95.5, v = ")
    assert update(suite.run(tests, update=True)) == [suite.path]
    assert all(result.passed for result in suite.again())
    expected = tomllib.loads(f"v = {value}")["v"]
    assert (
        tomllib.loads(suite.path.read_text())["tests"][0]["expect"]["sinks"]["alarms"]["rows"][0]["v"]
        == expected
    )


def test_lists_inside_of_a_value_stay_on_its_line(suite: Suite) -> None:
    suite.config = PLANT.replace('extra = "reject"', 'extra = "json"')
    record = "{ sensor = 'a', value = 95.5, v = [{ a = [{ b = 1 }] }] }"
    tests = f'\n[[tests]]\nname = "v"\ninputs = [{{ source = "floor", records = [{record}] }}]\n'
    assert update(suite.run(tests, update=True)) == [suite.path]
    assert "v = [{a = [{b = 1}]}]" in suite.path.read_text()


def test_nulls_and_rows_of_csv_in_files_by_day_are_written(suite: Suite) -> None:
    config = """
[sources.lab]
type = "udp"
listen = "127.0.0.1:1"
codec = "json"
[pipelines.main]
sources = ["lab"]
sinks = ["all", "csv"]
[sinks.all]
type = "sqlite"
path = "%Y-%m-%d.db"
[sinks.csv]
type = "file"
path = "%Y-%m-%d.csv"
format = "csv"
columns = ["v"]
"""
    tests = """
[[tests]]
name = "days"
start = 2026-01-01T23:59:59Z
inputs = [
  { source = "lab", text = '{"v": 1, "x": null, "y": {"a": null, "b": [1, [null], null]}}' },
  { advance = "2s" },
  { source = "lab", text = '{"v": 2}' },
]
"""
    assert update(suite.run(tests, config, update=True)) == [suite.path]
    assert all(result.passed for result in suite.again())
    (case,) = tomllib.loads(suite.path.read_text())["tests"]
    assert case["expect"]["sinks"] == {
        "all": {"rows": [{"v": 1, "y": {"b": "[1, [null], null]"}}, {"v": 2}]},
        "csv": {"lines": ["1", "2"]},
    }


def test_tests_in_an_array_are_not_rewritten(suite: Suite) -> None:
    text = "tests = [{ name = 'a', inputs = [{ advance = '1s' }], expect = { filtered = 2 } }]\n"
    suite.path.write_text(text + PLANT)
    with pytest.raises(
        ConfigError, match=r"--update can only change tests that are written as \[\[tests\]\]"
    ):
        update(suite.again())
    assert suite.path.read_text() == text + PLANT


def test_the_file_keeps_its_permissions(suite: Suite) -> None:
    suite.write(NEW)
    suite.path.chmod(0o640)
    update(suite.again(update=True))
    assert suite.path.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in suite.folder.iterdir()] == ["plant.toml"]


def test_a_file_keeps_its_line_ends_and_its_mark_and_gets_a_last_line_end(suite: Suite) -> None:
    target = suite.folder / "real.toml"
    target.write_bytes(b"\xef\xbb\xbf" + (PLANT + NEW).rstrip("\n").replace("\n", "\r\n").encode())
    suite.path.symlink_to(target)
    assert update(suite.again(update=True)) == [suite.path]
    content = target.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf\r\n[schemas.reading]\r\n")
    assert content.count(b"\n") == content.count(b"\r\n")
    assert content.endswith(b"\r\n")
    assert suite.path.is_symlink()
    assert all(result.passed for result in suite.again())


def test_tests_of_another_file_are_written_there(suite: Suite) -> None:
    suite.write("")
    beside: Path = suite.folder / "plant.test.toml"
    beside.write_text(NEW)
    assert update(suite.again(update=True)) == [beside]
    assert suite.path.read_text() == PLANT
    assert all(result.passed for result in suite.again())
