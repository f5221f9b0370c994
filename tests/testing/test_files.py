"""Wrong tests are refused with the line, the path and a suggestion; a test that asserts nothing is wrong.

This is also about `config/cases.py`.
"""

from pathlib import Path

import pytest

from streamd.config import load
from streamd.core.errors import ConfigError
from streamd.testing import files
from tests.testing.conftest import Suite

GOOD = """[[tests]]
name = "one"
inputs = [
  { source = "floor", text = "{}" },
]
[tests.expect]
filtered = 1
"""
EXPECT = "[tests.expect]\nfiltered = 1\n"


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (EXPECT, "", "1: tests[0].expect: expects nothing, so it would always pass"),
        (EXPECT, "[tests.expect]\n", "6: tests[0].expect: expects nothing"),
        (
            EXPECT,
            "[tests.expect.sinks.readigns]\ncount = 1\n",
            '6: tests[0].expect.sinks.readigns: there is no sink "readigns" (did you mean "readings"?)',
        ),
        (
            EXPECT,
            "[tests.expect.sinks.readings]\n",
            "6: tests[0].expect.sinks.readings: expects nothing: write rows, lines or count",
        ),
        (
            EXPECT,
            "[tests.expect.sinks.readings]\ncontains = true\nrows = []\n",
            "6: tests[0].expect.sinks.readings: contains without rows or lines is always true",
        ),
        (
            EXPECT,
            "[tests.expect.sinks.readings]\nrows = []\nlines = []\n",
            "6: tests[0].expect.sinks.readings: has rows and lines",
        ),
        (
            EXPECT,
            "[tests.expect.sinks.readings]\ncount = 1\nignore = ['a']\n",
            "6: tests[0].expect.sinks.readings: ignore names fields of rows",
        ),
        ("filtered = 1", "filtred = 1", '7: tests[0].expect.filtred: unknown key (did you mean "filtered"?)'),
        (
            "filtered = 1",
            "filtered = { mian = 1 }",
            '7: tests[0].expect.filtered.mian: there is no pipeline "mian"',
        ),
        (
            "filtered = 1",
            'rejected = [{ stage = "decode" }]',
            "7: tests[0].expect.rejected[0].reason: is missing",
        ),
        (
            "filtered = 1",
            'rejected = [{ reason = "x", sink = "alarm" }]',
            '7: tests[0].expect.rejected[0].sink: there is no sink "alarm" (did you mean "alarms"?)',
        ),
        (
            "filtered = 1",
            'counters = { "sources.floor.truncted" = 1 }',
            '(did you mean "sources.floor.truncated"?)',
        ),
        (
            '"floor"',
            '"flor"',
            '4: tests[0].inputs[0].source: there is no source "flor" (did you mean "floor"?)',
        ),
        ('text = "{}"', 'texts = "{}"', '4: tests[0].inputs[0].texts: unknown key (did you mean "text"?)'),
        ('text = "{}"', 'text = "{}", hex = "00"', "4: tests[0].inputs[0]: has text and hex"),
        ('text = "{}"', 'hex = "0x0"', "4: tests[0].inputs[0].hex: should be pairs of hexadecimal digits"),
        ('text = "{}"', 'base64 = "*"', "4: tests[0].inputs[0].base64: is no base64"),
        ('text = "{}"', 'file = "none"', "4: tests[0].inputs[0].file: cannot be read: No such file"),
        ('text = "{}"', 'file = "/dev/zero"', "4: tests[0].inputs[0].file: cannot be read: /dev/zero is a"),
        ('text = "{}"', 'advance = "1m"', "4: tests[0].inputs[0]: advance concerns no source"),
        ('source = "floor", text = "{}"', "advance = 60", "4: tests[0].inputs[0].advance: "),
        ('source = "floor", text = "{}"', 'restart = "kil"', "4: tests[0].inputs[0].restart: should be"),
        ('source = "floor", text = "{}"', 'text = "{}"', "4: tests[0].inputs[0]: names no source"),
        (', text = "{}"', "", "4: tests[0].inputs[0]: does nothing"),
        ('text = "{}"', 'at = 2025-12-31T00:00:00Z, text = "{}"', "4: tests[0].inputs[0].at: is before 2026"),
        ('text = "{}"', 'at = "yesterday", text = "{}"', "4: tests[0].inputs[0].at: a time is written like"),
        ('"floor", text = "{}"', '"lab", close = true', "close: source lab has no connections"),
        (
            '"floor", text',
            '"log", peer = "x", text',
            "4: tests[0].inputs[0].peer: a followed file has no sender",
        ),
        ('text = "{}"', 'records = [{ "@peer" = "x" }]', "only the daemon sets this field"),
        (
            '"floor", text = "{}"',
            '"lab", records = [{ sensor = "a", value = "x" }]',
            "4: tests[0].inputs[0].records[0]: schema:type: value: expected float",
        ),
        ('source = "floor", text = "{}"', 'reload = "no.toml"', "4: tests[0].inputs[0].reload: "),
        ("[[tests]]", "[tests]", "should be a list of tables: write [[tests]]"),
        ('name = "one"', "", "1: tests[0].name: is missing"),
    ],
)
def test_a_wrong_test_is_refused(old: str, new: str, error: str, suite: Suite) -> None:
    assert old in GOOD
    suite.write("", suite.config)
    (suite.folder / "plant.test.toml").write_text(GOOD.replace(old, new, 1))

    with pytest.raises(ConfigError) as refused:
        files.find(load(suite.path))

    assert error in str(refused.value)
    assert str(refused.value).startswith(f"{suite.folder}/plant.test.toml:")
    assert "\n" not in str(refused.value), "one mistake, one line"


def test_all_problems_are_reported_in_the_order_of_the_file(suite: Suite) -> None:
    wrong = GOOD.replace("filtered", "filtred") + GOOD.replace('"floor"', '"flor"').replace("one", "two")
    with pytest.raises(ConfigError) as refused:
        suite.run(wrong)
    first, second = str(refused.value).splitlines()
    assert "tests[0].expect.filtred" in first
    assert "tests[1].inputs[0].source" in second


def test_a_name_is_unique_over_all_files(suite: Suite) -> None:
    suite.write(GOOD)
    (suite.folder / "plant.test.toml").write_text(GOOD)
    with pytest.raises(
        ConfigError, match=r'plant\.test\.toml:2: .*"one" is also the name of the test at .*plant\.toml:\d+'
    ):
        files.find(load(suite.path))


def test_tests_are_found_in_the_configuration_and_beside_it(suite: Suite) -> None:
    suite.write(GOOD)
    (suite.folder / "conf.d").mkdir()
    (suite.folder / "conf.d" / "more.toml").write_text(GOOD.replace("one", "conf.d"))
    for name in (
        "plant.b.test.toml",
        "plant.test.toml",
        "plant.a.test.toml",
        "plants.test.toml",
        "x.test.toml",
    ):
        (suite.folder / name).write_text(GOOD.replace("one", name))

    found = files.find(load(suite.path))

    assert [case.case.name for case in found] == [
        "one", "conf.d", "plant.test.toml", "plant.a.test.toml", "plant.b.test.toml",
    ]  # fmt: skip
    assert {case.file for case in found} == {
        suite.path,
        suite.folder / "conf.d" / "more.toml",
        *(suite.folder / name for name in ("plant.test.toml", "plant.a.test.toml", "plant.b.test.toml")),
    }


def test_a_file_of_tests_holds_only_tests(suite: Suite) -> None:
    suite.write("")
    (suite.folder / "plant.test.toml").write_text(GOOD + "[sinks.more]\ntype = 'stdout'\n")
    with pytest.raises(ConfigError, match=r"plant\.test\.toml:8: sinks: unknown key: there are tests"):
        files.find(load(suite.path))
    (suite.folder / "plant.test.toml").write_text("[[tests]\n")
    with pytest.raises(ConfigError, match=r"plant\.test\.toml:1:"):
        files.find(load(suite.path))


def test_a_misspelt_table_of_tests_is_refused(suite: Suite) -> None:
    with pytest.raises(ConfigError, match=r'plant\.toml:\d+: test: unknown key \(did you mean "tests"\?\)'):
        suite.run("[[test]]\nname = 'a'\n")


def test_a_wrong_test_keeps_no_daemon_from_starting(suite: Suite) -> None:
    suite.write("[[tests]]\nnames = 1\n")
    assert load(suite.path).config.sinks


def test_paths_of_a_test_are_relative_to_its_file(suite: Suite, tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "sample.bin").write_bytes(b"{}")
    (tmp_path / "conf.d" / "a.toml").write_text(GOOD.replace('text = "{}"', 'file = "sample.bin"'))
    suite.write("")
    (case,) = files.find(load(suite.path))
    assert files.content(case.case.inputs[0], case.file) == b"{}"
