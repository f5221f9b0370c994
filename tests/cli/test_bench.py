import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from streamd.bench.codec_cases import CASES as CODEC_CASES
from streamd.bench.plan import Plan
from streamd.bench.processes import PROCESS_CASES
from streamd.bench.row import BenchError, Row
from streamd.bench.step_cases import CASES
from streamd.cli import bench, main


@pytest.mark.timeout(900)  # it takes a minute on an idle machine
def test_quick_runs_every_scenario_and_the_books_balance(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streamd", "bench", "--quick", "--dir", str(tmp_path), "--json", "all.json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "all.json").read_text())
    names = [row["name"] for row in found["rows"]]
    assert [name for name in names if not name.startswith(("postgresql", "jetstream"))] == [  # need a server
        "tcp_typed", "tcp_plain", "tcp_wall", "tcp_cores", "tcp_steps", "tcp_syslog", "udp_steady",
        "udp_highest", "udp_cores", "latency_p99", "latency_idle", "memory_idle", "memory_peak", "start",
        "fairness", "meter", "observation", "observation_idle", "retention", "attack", "window",
        "window_columns", "anomaly_ewma", "anomaly_hampel", "anomaly_quantile", "anomaly_seasonal",
        "model_run", "model", "model_columns", "parquet", "parquet_dicts",
        *(case.name for case in PROCESS_CASES),
        *(f"codec_{name}" for name in CODEC_CASES),
        *(f"step_{name}" for name in CASES),
    ]  # fmt: skip
    assert all(row["value"] > 0 for row in found["rows"])
    assert all(row["reached"] is None for row in found["rows"])
    assert found["machine"]["cores"] >= 1
    assert "TCP, 20,000 JSON lines" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["all.json"]


def row(value: float) -> Row:
    return Row(name="start", what="Start", value=value, unit="s", goal="< 0.5 s", reached=value < 0.5)


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_missed_goal_is_shown_and_no_error(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(bench.SCENARIOS, "start", lambda _: [row(0.7)])
    assert main(["bench", "--only", "start", "--markdown"]) == 0
    assert "| Start | 0.70 s |  |  | < 0.5 s | NO |" in capsys.readouterr().out
    (written,) = in_tmp.glob("bench-*.json")
    assert json.loads(written.read_text())["rows"][0]["reached"] is False


def test_what_was_measured_before_a_failure_is_kept(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Plan) -> list[Row]:
        raise BenchError("2 sent; rows are 1")

    monkeypatch.setitem(bench.SCENARIOS, "start", lambda _: [row(0.4)])
    monkeypatch.setitem(bench.SCENARIOS, "latency", fail)
    assert main(["bench", "--only", "start", "latency", "--json", "out.json"]) == 1
    printed = capsys.readouterr()
    assert "streamd: latency: 2 sent; rows are 1" in printed.err
    assert "yes" in printed.out
    assert len(json.loads((in_tmp / "out.json").read_text())["rows"]) == 1


@pytest.mark.parametrize("arguments", [["--json", "/nowhere/x.json"], ["--dir", "/nowhere"]])
@pytest.mark.usefixtures("in_tmp")
def test_a_place_that_cannot_be_written_is_said_before_anything_is_measured(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(bench.SCENARIOS, "start", lambda _: pytest.fail("was measured"))
    assert main(["bench", "--only", "start", *arguments]) == 1
    assert "cannot write to /nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_daemons_it_started_and_leaves_no_files(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "streamd", "bench", "--only", "tcp_typed", "--dir", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        while not (daemons := running_in(tmp_path)):
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(30) in (130, 143)
    assert not running_in(tmp_path)
    assert not list(tmp_path.glob("streamd-bench-*"))
    assert daemons


def running_in(folder: Path) -> list[str]:
    """The command lines of other processes that name the folder of a benchmark's scenario."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{folder}/streamd-bench-" in line:
            found.append(line)
    return found


def test_the_folder_may_be_relative(tmp_path: Path) -> None:
    arguments = ["--quick", "--only", "start", "--dir", ".", "--json", "x.json"]
    done = subprocess.run(
        [sys.executable, "-m", "streamd", "bench", *arguments],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_goes_by_the_width_of_the_terminal(width: int) -> None:
    rows = [
        Row(name="tcp_typed", what="TCP, 1,000,000 JSON lines → table", value=4.684, unit="CPU s/M",
            note="medians of 3", baseline=3.9, baseline_what="executemany", goal="ratio ≤ 1.3", reached=True),
        Row(name="udp_highest", what="UDP, highest", value=175_000, unit="datagrams/s"),
    ]  # fmt: skip
    text = bench.text(rows, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    for words in ("What", "Baseline", "Reached", "4.68 CPU s/M", "3.90 CPU s/M", "175,000 datagrams/s"):
        assert words in text
    assert " ".join(lines[lines.index("", len(lines) - 4) :]).split() == [
        "tcp_typed:", "medians", "of", "3;", "baseline:", "executemany",
    ]  # fmt: skip
    if width == 200:
        assert {line.index(figure) for line, figure in zip(lines[2:], ("4.68", "175,000"), strict=False)} == {
            lines[0].index("Figure")
        }


@pytest.mark.parametrize(("group", "first"), [("steps", "step_set"), ("codecs", "codec_statsd")])
def test_all_of_a_group_have_one_name_and_none_is_measured_twice(
    group: str, first: str, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def measure(name: str, _: Plan) -> list[Row]:
        measured.append(name)
        return []

    for name in bench.GROUPS[group]:
        monkeypatch.setitem(bench.SCENARIOS, name, partial(measure, name))
    assert main(["bench", "--only", first, group, "--json", "x.json"]) == 0
    assert sorted(measured) == sorted(bench.GROUPS[group])
    assert measured[0] == first
    assert [path.name for path in in_tmp.iterdir()] == ["x.json"]
