"""`streamd test` in a process of its own, as somebody would type it."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests import preloaded
from tests.testing.conftest import PLANT

Run = Callable[..., subprocess.CompletedProcess[str]]

TESTS = """
[[tests]]
name = "good"
inputs = [{ source = "lab", text = '{"sensor":"a","value":21.5}' }]
[tests.expect.sinks.readings]
rows = [{ sensor = "a", value = 21.5, warm = true }]

[[tests]]
name = "wrong"
inputs = [{ source = "lab", text = '{"sensor":"a","value":1}' }]
[tests.expect.sinks.readings]
rows = [{ sensor = "a", value = 1.0, warm = true }]
"""


@pytest.fixture
def streamd(tmp_path: Path) -> Run:
    def run(*options: str, command: str = "test") -> subprocess.CompletedProcess[str]:
        env = {key: value for key, value in os.environ.items() if key != "STATE_DIRECTORY"}
        return preloaded.run([command, "plant.toml", *options], tmp_path, env)

    (tmp_path / "plant.toml").write_text(PLANT + TESTS)
    return run


def test_a_failed_test_is_shown_with_its_line_and_both_values(streamd: Run) -> None:
    done = streamd()

    assert done.returncode == 1
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("pass  good  (")
    assert lines[1].startswith("FAIL  wrong  (")
    row = 1 + [*(PLANT + TESTS).splitlines()].index('rows = [{ sensor = "a", value = 1.0, warm = true }]')
    assert lines[2] == f"      sink readings, row 1 differs  (plant.toml:{row})"
    assert lines[3:5] == ["        warm  expected  true", "              got       0"]
    assert lines[5].startswith("2 tests, 1 failed (")


def test_some_tests_can_be_chosen(streamd: Run) -> None:
    assert streamd("--only", "good").returncode == 0
    assert streamd("--only", "go*", "--only", "good").stdout.count("pass  ") == 1
    done = streamd("--only", "god")
    assert (done.returncode, done.stderr) == (2, "streamd: there is no test 'god' (did you mean \"good\"?)\n")


def test_a_name_with_wildcards_is_also_a_name(streamd: Run, tmp_path: Path) -> None:
    (tmp_path / "plant.toml").write_text(PLANT + TESTS.replace('"good"', '"is [x] good?"'))
    assert streamd("--only", "is [x] good?").returncode == 0


def test_results_can_be_read_by_programs(streamd: Run, tmp_path: Path) -> None:
    done = streamd("--json", "--junit", "results.xml")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert [(test["name"], test["passed"]) for test in document["tests"]] == [
        ("good", True),
        ("wrong", False),
    ]
    (suite,) = ET.parse(tmp_path / "results.xml").getroot()  # noqa: S314 - our own
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")

    done = streamd("--junit", "missing/results.xml")
    assert (done.returncode, done.stderr) == (
        1,
        "streamd: cannot write missing/results.xml: No such file or directory\n",
    )


def test_the_outcome_can_be_written_as_the_expected_one(streamd: Run, tmp_path: Path) -> None:
    done = streamd("--update")
    assert (done.returncode, done.stderr) == (0, "streamd: plant.toml is updated\n")
    assert "FAIL  wrong" in done.stdout
    assert (tmp_path / "plant.toml").read_text() == (PLANT + TESTS).replace(
        'rows = [{ sensor = "a", value = 1.0, warm = true }]',
        'rows = [\n    {sensor = "a", value = 1.0, warm = 0},\n]',
    )
    assert streamd().returncode == 0
    assert streamd("--update").stderr == ""


def test_output_of_a_step_is_not_in_the_report(streamd: Run, tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text("def step(record):\n    print('printed')\n    return record\n")
    config = PLANT.replace("steps = [", 'steps = [ { type = "python", function = "steps.py:step" },')
    (tmp_path / "plant.toml").write_text(config + TESTS)
    done = streamd("--json")
    assert json.loads(done.stdout)["ok"] is False
    assert done.stderr.count("printed") == 2


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (TESTS, "", "there is no test: write [[tests]] into plant.toml or plant.test.toml"),
        ('name = "good"', 'nam = "good"', "plant.toml:36: tests[0].nam: unknown key"),
        ('where = "sensor !=', 'where = "senso(', "plant.toml:22: pipelines.main.steps[0].where: "),
        ("[sinks.readings]", "[sinks.reading]", "plant.toml:20: pipelines.main.sinks[0]: there is no sink"),
    ],
)
def test_a_wrong_file_is_refused(old: str, new: str, error: str, streamd: Run, tmp_path: Path) -> None:
    (tmp_path / "plant.toml").write_text((PLANT + TESTS).replace(old, new, 1))
    done = streamd()
    assert done.returncode == 2
    assert error in done.stderr
    assert "Traceback" not in done.stderr
