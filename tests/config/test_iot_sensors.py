"""The example of faulty sensors: its tests find mistakes in it, and it counts a plant's faults exactly."""

import json
import re
import resource
import shutil
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from streamd.cli import main
from streamd.config import load
from streamd.plant import SENSORS, Plant
from streamd.testing import files
from streamd.testing.outcome import CaseOutcome
from streamd.testing.run import run

FOLDER = Path(__file__).parents[2] / "config"
CONFIG = (FOLDER / "iot-sensors.toml").read_text()
DEDUPE = re.findall(r"\[\[pipelines\.minutes\.steps\]\]\ntype = \"dedupe\".*\n(?:.+\n)+", CONFIG)[0]


def test_its_tests_pass_and_take_little_cpu() -> None:
    command = [sys.executable, "-m", "streamd", "test", str(FOLDER / "iot-sensors.toml")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^8 tests, all passed", done.stdout, re.MULTILINE)
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent_s < 20


class Mistake(NamedTuple):
    """A change of the configuration; the test that notices it first, and its differences."""

    old: str
    new: str
    test: str
    differences: list[str]


MEANS = "the minute means of each sensor"
WRONG = "wrong values are corrected, or kept as dead letters"
FAHRENHEIT = "degrees Fahrenheit become Celsius"
TWICE = "a reading that comes twice counts once, also after a restart"
GAPS = "numbers that do not come are gaps"
SILENT = "a sensor that falls silent is an alarm, and its return is one"
EXTREME = "a minute with a value above 50 or below 0 is an alarm"
LATE = "readings that are too late, or from a clock that is too fast"
MISTAKES = {
    "the range is too wide": Mistake("ge = -60, le = 150", "ge = -6000, le = 150", WRONG, [
        "sink minutes, row 1 differs",
        "lowest  expected  20.5",
        "        got       -999.0",
        'dead letter 3 is missing: reason = "rule:range"',
    ]),
    "the range is too narrow": Mistake("le = 150", "le = 149", EXTREME, [
        "n        expected  2",
        "         got       1",
        'detail = "value_range: value: 150 is above 149"',
    ]),
    "a window has the wrong key": Mistake('key = ["sensor"]\ntime', 'key = ["unit"]\ntime', MEANS, [
        'sink minutes, row 2 is missing: sensor = "s-02"',
        'dead letter 1 of those kept is not expected: reason = "schema:required", stage = "sink"',
        'detail = "sensor: null"',
    ]),
    "dedupe is removed": Mistake(DEDUPE, "", TWICE, [
        "n     expected  2",
        "      got       3",
        "mean  expected  25.0",
        "      got       23.3333",
        "filtered is another number",
    ]),
    "dedupe has the wrong key": Mistake('key = ["sensor", "seq"]', 'key = ["sensor"]', MEANS, [
        "n        expected  3",
        "         got       1",
    ]),
    "dedupe forgets too early": Mistake('within = "10m"', 'within = "9m"', TWICE, [
        "dead letter 1 differs",
        '"value": 25',
        '"value": 20',
    ]),
    "the window has the wrong size": Mistake('size = "1m"', 'size = "10m"', MEANS, [
        'window_start  expected  "2026-01-31T08:01:00.000000Z"',
        '              got       "2026-01-31T08:00:00.000000Z"',
    ]),
    "the window closes too early": Mistake('delay = "30s"', 'delay = "3s"', LATE, [
        "n        expected  2",
        "         got       1",
        'reason = "window:late"',
    ]),
    "late readings are dropped": Mistake('time = "ts"', 'time = "ts"\nlate = "drop"', LATE, [
        'dead letter 2 is missing: reason = "window:late"',
        "filtered is another number",
        "minutes  expected  0",
        "         got       1",
    ]),
    "the where of the alarms is inverted": Mistake("highest > 50 or lowest < 0", "highest <= 50", EXTREME, [
        'sensor   expected  "s-02"',
        '         got       "s-01"',
        "lowest   expected  20.0",
        "         got       0.0",
        "highest  expected  50.1",
        "         got       50.0",
        'sensor   expected  "s-05"',
        '         got       "s-04"',
    ]),
    "the unit is converted the wrong way": Mistake("(value - 32) / 1.8", "value * 1.8 + 32", FAHRENHEIT, [
        "mean     expected  24.0",
        "highest  expected  30.0",
        "         got       186.8",
    ]),
    "the wrong unit is converted": Mistake("if unit == 'F' else", "if unit == 'C' else", MEANS, [
        "mean     expected  21.5",
        "         got       -5.83333",
    ]),
    "the time of receipt is taken": Mistake('time = "ts" ', "#", MEANS, [
        "mean     expected  21.5",
    ]),
    "clocks that are not set are only counted": Mistake(
        "Z'\", on_error = \"reject\"", "Z'\", on_error = \"count\"", WRONG,
        [
            'dead letter 6 is missing: reason = "rule:expression"',
            'reason = "window:late"',
            'detail = "1970-01-01T00:00:02.000000Z is before the watermark',
        ],
    ),
    "gaps are reported too late": Mistake('wait = "1m"', 'wait = "5m"', GAPS, [
        'sink gaps, row 2 is missing: sensor = "s-01", gap_from = 2, gap_to = 3, missing = 2',
        "counter pipelines.gaps.steps[0].missing is another number",
        "value  expected  4",
        "       got       1",
    ]),
    "silence is noticed too late": Mistake('every = "1m"', 'every = "10m"', SILENT, [
        'sink alarms, row 3 is missing: sensor = "s-01", expect = "silent"',
    ]),
    "the highest value is the last": Mistake("max(value)", "last(value)", FAHRENHEIT, [
        "highest  expected  30.0",
        "         got       22.0",
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_makes_a_test_fail_that_says_what_differs(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mistake = MISTAKES[name]
    assert CONFIG.count(mistake.old) == 1
    shutil.copy(FOLDER / "iot-sensors.test.toml", tmp_path)
    config = tmp_path / "iot-sensors.toml"
    config.write_text(CONFIG.replace(mistake.old, mistake.new))
    assert main(["test", "--only", mistake.test, str(config)]) == 1
    printed = capfd.readouterr()
    assert printed.err == ""
    assert f"FAIL  {mistake.test}  (" in printed.out
    place = 0
    for difference in mistake.differences:
        found = printed.out.find(difference, place)
        assert found >= 0, (difference, printed.out)
        place = found + len(difference)
    shown = [line for line in printed.out.splitlines() if "row" in line or "letter" in line]
    assert all(re.search(r"iot-sensors\.test\.toml:\d+\)$", line) for line in shown)


def played(plant: Plant, folder: Path) -> CaseOutcome:
    """What the configuration makes of a plant on a virtual clock that is the plant's own."""
    shutil.copy(FOLDER / "iot-sensors.toml", folder)
    inputs = []
    while sent := plant.timed_lines(SENSORS):
        at = (plant.start + timedelta(seconds=sent[-1][0])).isoformat()
        text = "".join(f"{line.decode()}\n" for _, line in sent)
        inputs.append(f"{{ at = {json.dumps(at)}, source = 'cable', text = {json.dumps(text)} }},\n")
    inputs.append("{ advance = '150s' },\n")
    (folder / "iot-sensors.test.toml").write_text(
        f"[[tests]]\nname = 'a plant'\nstart = '{plant.start.isoformat()}'\ninputs = [\n{''.join(inputs)}]\n"
    )
    loaded = load(folder / "iot-sensors.toml")
    (result,) = run(loaded, files.find(loaded, without_expectation=True))
    assert result.fault == ""
    assert result.outcome is not None
    assert result.outcome.faults == [], "the books balance"
    return result.outcome


@pytest.mark.parametrize("seed", [0, 1])
def test_the_faults_of_a_plant_are_counted_exactly(seed: int, tmp_path: Path) -> None:
    plant = Plant(seed)
    outcome = played(plant, tmp_path)
    truth = plant.books(10**6)
    found = outcome.counters
    gaps = outcome.sinks["gaps"].rows or []
    assert all(gap["missing"] > 0 for gap in gaps)
    assert (len(gaps), sum(gap["missing"] for gap in gaps)) == truth["gap"]
    assert {(gap["sensor"], gap["gap_from"]) for gap in gaps} == {
        (fault.sensor, fault.seq) for fault in plant.faults(10**6) if fault.kind == "gap"
    }
    assert +outcome.filtered == {"minutes": truth["duplicate"][0]}
    assert found["pipelines.gaps.steps[0].duplicates"] == truth["duplicate"][0]
    assert found["pipelines.gaps.steps[0].late"] == truth["out_of_order"][0]
    rejected = Counter((letter["pipeline"], letter["reason"]) for letter in outcome.rejected)
    assert rejected == {
        ("minutes", "rule:range"): truth["error_value"][1],
        ("minutes", "rule:expression"): truth["clock_reset"][1],
    }
    assert found["pipelines.minutes.steps[0].fixed"] == truth["text"][1]
    assert found["pipelines.minutes.steps[0].failed"] == sum(
        truth[kind][1] for kind in ("text", "error_value", "clock_reset", "fahrenheit")
    )
    alarms = outcome.sinks["alarms"].rows or []
    spikes = [alarm["sensor"] for alarm in alarms if alarm.get("highest") is not None]
    assert Counter(spikes) == Counter(f.sensor for f in plant.faults(10**6) if f.kind == "spike")
    silences = [fault for fault in plant.faults(10**6) if fault.kind == "silence"]
    states = Counter(alarm["expect"] for alarm in alarms if alarm.get("expect") is not None)
    # The last `late` are those of the end, when the whole plant is silent.
    assert states == {"late": len(silences) + SENSORS, "silent": len(silences), "back": len(silences)}
