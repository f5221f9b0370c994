"""`streamd capacity --sheet` with a benchmark's result."""

import json
import re
import textwrap
from pathlib import Path

import pytest

from streamd.bench.report import document
from streamd.bench.row import Row
from streamd.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sheet(tmp_path: Path) -> list[str]:
    details = {"records": 1_000_000, "runs": [{"cpu_s": 2.0, "loop_cpu_s": 1.0}]}
    row = Row(name="tcp_wall", what="", value=500_000.0, unit="records/s", details=details)
    (tmp_path / "bench.json").write_text(json.dumps(document([row], {}, "2026-01-31T08:00:00Z", quick=False)))
    return ["capacity", "--bench", str(tmp_path / "bench.json"), "--sheet"]


def test_the_table_has_a_column_for_each_rate_and_says_what_is_assumed(
    sheet: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*sheet, "200000/s", "1M/s", "--figure", "table_retention_days=0.1"]) == 0
    said = capsys.readouterr().out
    lines = {cells[0]: cells[1:] for cells in (re.split("  +", line) for line in said.splitlines())}
    assert said.splitlines()[0].split() == ["200,000/s", "1,000,000/s"]
    assert lines["one machine: holds"] == ["yes", "no (SQLite)"]
    assert lines["worker: processes"] == ["1", "3"]
    assert lines["JetStream: partitions"] == ["4", "16"]
    assert lines["JetStream: written a day"] == ["5.7 TB", "28.5 TB"]
    assert "measured: tcp_wall of " in said
    assert "assumed: 8 TB" in said
    assert "19 of 23 figures are assumed" in said
    assert "\n- costs do not depend on the number of machines" in said


def test_the_guide_shows_what_its_command_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    details = {"records": 1_000_000, "runs": [{"cpu_s": 2.42, "loop_cpu_s": 1.26}]}
    row = Row(name="tcp_wall", what="", value=431_752.0, unit="records/s", details=details)
    result = json.dumps(document([row], {}, "2026-11-27T08:00:00Z", quick=False))
    (tmp_path / "bench.json").write_text(result)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")
    guide = (ROOT / "docs/how-to/capacity.md").read_text()
    (command,) = re.findall(r"^    streamd (capacity --sheet .* 100M/s .*)$", guide, re.MULTILINE)
    assert main(command.split()) == 0
    table = capsys.readouterr().out.split("\n\n")[0]
    assert textwrap.indent(table, "    ") in guide
    performance = (ROOT / "docs/reference/performance.md").read_text()
    for figure in ("431,752 records/s", "2.42 CPU s/M, 1.26 of it the loop"):
        assert figure in performance


def test_without_a_rate_it_goes_up_to_a_hundred_million(
    sheet: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*sheet, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["records_per_s"] for one in found["rates"]] == [1e4, 1e5, 1e6, 1e7, 1e8]
    assert found["rates"][2]["worker"] == {"processes": 3, "machines": 1, "limit": "cores"}
    assert found["figures"]["process_cores"]["origin"] == "measured"
    assert "process_cores" not in found["not_measured"]
    assert "record_bytes" in found["not_measured"]
    assert found["assumed"]


def test_with_a_given_cost_neither_daemon_nor_benchmark_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    figure = ["--figure", "single_cpu_s_per_million=2"]
    assert main(["capacity", "--sheet", "10000/s", "--json", *figure]) == 0
    assert json.loads(capsys.readouterr().out)["figures"]["single_cpu_s_per_million"]["origin"] == "given"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sheet", "10000"], "--sheet 10000: not a rate like 50000/s or 10M/s"),
        (["--sheet", "0/s"], "--sheet 0/s: not a rate"),
        (["--sheet", "-1/s"], "unrecognized arguments: -1/s"),
        (["--sheet", "9999G/s"], "of at most 1,000,000,000,000/s"),
        (["--sheet", "nan/s"], "--sheet nan/s: not a rate"),
        (["--sheet", ""], "--sheet : not a rate"),
        (["--figure", "machine_cores=3"], "--figure is a figure of a sheet: add --sheet"),
        (["--sheet", "--figure", "cores=3"], "there is no figure cores"),
        (["--sheet", "--rate", "×2"], "--rate belongs to a scenario"),
        (["--sheet", "--for", "2m"], "--for belongs to a scenario"),
        (["--sheet", "--output", "x.png"], "--output belongs to a scenario"),
        (["--sheet", "--bench", "x", "--socket", "y"], "--bench needs none"),
    ],
)
def test_wrong_words_end_with_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["capacity", *arguments])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    assert said in capsys.readouterr().err


def test_without_a_daemon_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capacity", "--sheet", "--socket", str(tmp_path / "none.sock")]) == 1
    assert "no daemon answers at" in capsys.readouterr().err
