"""The how-to guide of calibrated alarms does what it says, and its figures are those of its script."""

import math
import re
import sqlite3
import subprocess
import sys
import tomllib
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streamd.testing import run_step

TEXT = (Path(__file__).parents[2] / "docs/how-to/alarms.md").read_text()
BLOCKS: dict[str, list[str]] = {}
for _kind, _text in re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL):
    BLOCKS.setdefault(_kind, []).append(_text)
CONFIG: dict[str, Any] = tomllib.loads(BLOCKS["toml"][0])
ANOMALY, CAPTURE = CONFIG["pipelines"]["alarms"]["steps"]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """The names of the script."""
    scope: dict[str, Any] = {"__name__": "calibrate"}
    exec(compile(BLOCKS["python"][0], "calibrate.py", "exec"), scope)  # noqa: S102 - our own page
    return scope


def test_the_script_prints_what_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "calibrate.py").write_text(BLOCKS["python"][0])
    command = [sys.executable, "calibrate.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == BLOCKS["text"][0]
    threshold, min_width, *for_, found, _, total = done.stdout.splitlines()[-1].split()[:8]
    assert (float(threshold), float(min_width), " ".join(for_)) == tuple(
        ANOMALY[name] for name in ("threshold", "min_width", "for")
    )
    assert int(found) <= int(total)


def test_only_readings_of_the_first_half_have_a_part_in_the_choice(script: dict[str, Any]) -> None:
    readings, failures = script["history"]()
    half_s = (readings[0]["at"] + readings[-1]["at"]) // 2
    given: list[list[dict[str, Any]]] = []
    flagged = script["flagged"]

    def seen(readings: list[dict[str, Any]], options: Any) -> Any:
        given.append(readings)
        return flagged(readings[:300], options)

    script |= {"flagged": seen, "history": lambda: (readings, failures)}
    with pytest.raises(SystemExit, match="no candidate"):
        exec("MOST_FALSE_A_DAY = -1\nmain()", script)  # noqa: S102 - our own page
    assert len(given) == 18
    assert max(reading["at"] for one in given for reading in one) < half_s
    script["flagged"] = flagged


def test_flags_are_judged_by_the_rules_of_the_page(script: dict[str, Any]) -> None:
    failures = [("a", 10_000, 20_000), ("b", 10_000, 20_000), ("a", 50_000, 60_000), ("a", 99_000, 99_500)]
    flags = [
        ("a", 1_000),
        ("a", 4_600),
        ("a", 8_201),
        ("a", 12_000),
        ("a", 13_000),
        ("b", 21_000),
        ("a", 70_000),
    ]
    assert script["judged"](flags, failures, 0, 86_400) == {
        "recall": 1 / 3,
        "precision": 1 / 4,
        "false_a_day": 3.0,
        "delay_min": 2000 / 60,
        "found": "1 of 3",
    }
    nothing = script["judged"]([], failures[:1], 0, 86_400)
    assert (nothing["recall"], nothing["false_a_day"], nothing["delay_min"]) == (0, 0, math.inf)


def test_an_alarm_is_a_capture_of_the_configuration(script: dict[str, Any]) -> None:
    readings, _ = script["history"]()
    options = {name: ANOMALY[name] for name in ("threshold", "min_width", "for")}
    flags = script["flagged"](readings, options)
    last: dict[str, float] = {}
    alarms = 0
    for room, at in flags:
        alarms += at - last.get(room, -math.inf) > script["ONE_ALARM_S"]
        last[room] = at
    run = run_step(CAPTURE, run_step(ANOMALY, readings).records, at="2026-02-01T00:00:00Z")
    assert alarms > 40
    assert run.counters["captures"] == alarms
    rows = [record for record in run.records if "capture" in record]
    assert sum(row["capture_flagged"] for row in rows) == len(flags)
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE captured (capture, room, at, value)")
        values = [
            (row["capture"], row["room"], datetime.fromtimestamp(row["at"], UTC).isoformat(), row["value"])
            for row in rows
        ]
        db.executemany("INSERT INTO captured VALUES (?, ?, ?, ?)", values)
        found = db.execute(BLOCKS["sql"][0]).fetchall()
    assert len(found) == alarms
    assert all(re.fullmatch(r"2026-01-\d\d", day) for day, *_ in found)


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    (tmp_path / "streamd.toml").write_text(BLOCKS["toml"][0])
    command = [sys.executable, "-m", "streamd", "check", "--config", str(tmp_path / "streamd.toml")]
    subprocess.run(command, capture_output=True, check=True)


def test_the_history_may_come_from_a_database(
    script: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "var").mkdir()
    with closing(sqlite3.connect(tmp_path / "var/lab.db")) as db, db:
        db.execute("CREATE TABLE readings (room, at, value)")
        db.execute("CREATE TABLE failures (room, began, ended)")
        db.execute("INSERT INTO readings VALUES ('r', '2026-01-01T00:05:00.000000Z', 4.5), ('r', 'x', NULL)")
        db.execute("INSERT INTO failures VALUES ('r', '2026-01-01T00:00:00Z', '2026-01-01T01:00:00Z')")
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    exec(compile(BLOCKS["python"][1], "history", "exec"), scope)  # noqa: S102 - our own page
    start_s = script["START_S"]
    assert scope["history"]() == (
        [{"room": "r", "at": start_s + 300, "value": 4.5}],
        [("r", start_s, start_s + 3600)],
    )


def test_the_bounds_of_the_page_are_those_of_a_poisson_distribution() -> None:
    counted, below = (
        [float(cell) for cell in row.split("|")[2:-1]]
        for row in re.findall(r"^\| (?:counted|below) .*", TEXT, re.MULTILINE)
    )
    for n, mean in zip(counted, below, strict=True):
        few = sum(math.exp(-mean) * mean**k / math.factorial(k) for k in range(int(n) + 1))
        assert few == pytest.approx(0.05, abs=0.002)
