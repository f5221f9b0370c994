"""`streamd capacity` in front of a control socket, and its messages."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamd.bench.report import document
from streamd.bench.row import Row
from streamd.cli import main
from tests.capacity.test_configured import TOML
from tests.capacity.test_history import write
from tests.capacity.test_measured import status


class Answering(threading.Thread):
    """A control socket that sends the documents of a watched status."""

    def __init__(self, path: Path, documents: list[dict[str, Any]]) -> None:
        super().__init__(daemon=True)
        self._documents = documents
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._socket.settimeout(0.1)
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(60)
                if connection.recv(65536):
                    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
                    body = "".join(f"event: status\ndata: {json.dumps(one)}\n\n" for one in self._documents)
                    connection.sendall((head + body).encode())

    def end(self) -> None:
        self._ended.set()
        self.join()
        self._socket.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[str]:
    """The socket of a daemon that takes 1,000 frames a second and is busy for 70 % of the time."""
    documents = [
        status(100.0 + n, 1000 * (n + 1), busy_s=0.7 * (n + 1), sink_busy_s=0.8 * (n + 1)) | {"config": "x"}
        for n in range(8)
    ]
    answering = Answering(tmp_path / "control.sock", documents)
    yield str(tmp_path / "control.sock")
    answering.end()


def test_a_load_that_holds_ends_with_0_and_says_what_was_assumed(
    daemon: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["capacity", "--socket", daemon, "--rate", "×1.1"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Holds: nothing is lost")
    assert "scenario: the rate ×1.1, over 10 min" in said
    assert "loads: 1,000 frames/s in all, measured over 5.0 s" in said
    assert "suggestion" not in said


def test_a_loss_ends_with_1_charts_and_a_fragment_to_paste(
    daemon: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "course.png"
    arguments = ["--stall", "records=30s", "--for", "2m", "--output", str(picture)]
    assert main(["capacity", "--socket", daemon, *arguments]) == 1
    said = capsys.readouterr().out
    assert said.startswith("Loses ")
    assert "    [sources.udp.buffer]\n    max_records = " in said
    assert "Lost so far" in said
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_buffer_for_a_load_above_the_capacity_holds_for_a_time_only(
    daemon: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["capacity", "--socket", daemon, "--rate", "×1000", "--for", "10s"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "so no buffer holds it for good" in said
    assert "(holds for the time of the scenario, takes " in said
    assert "(holds, takes " not in said


def test_the_document_has_everything(daemon: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capacity", "--socket", daemon, "--stall", "records=30s", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["holds"] is False
    assert document["suggestions"][0]["holds"] is True


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--rate", "50000"], 'write "50000/s" or "×50000"'),
        (["--stall", "record=5s"], 'there is no sink record (did you mean "records"?); there are records'),
        (["--burst", "tcp=5"], "there is no source tcp; there are udp"),
        (["--step-cost", "5"], 'write "5us"'),
        (["--for", "10"], 'write "10s"'),
        (["--over", "10"], "--over 10: not a duration of at least 1us"),
        (["--frame-size", "10"], "--frame-size 10: not a size of at least 1B"),
        (["--output", "course.gif"], "a chart is written as .png or .svg"),
        (["--bench", "x.json"], "--socket names a running daemon"),
    ],
)  # fmt: skip
def test_wrong_words_end_with_2_and_a_suggestion(
    arguments: list[str], text: str, daemon: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["capacity", "--socket", daemon, *arguments]) == 2
    assert text in capsys.readouterr().err


def test_without_a_daemon_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capacity", "--socket", str(tmp_path / "none.sock")]) == 1
    assert "no daemon answers at" in capsys.readouterr().err


@pytest.mark.parametrize("documents", [[{"no": "status"}], []], ids=["other", "nothing"])
def test_another_program_at_the_socket_is_told(
    documents: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answering = Answering(tmp_path / "other.sock", documents)
    try:
        assert main(["capacity", "--socket", str(tmp_path / "other.sock")]) == 1
    finally:
        answering.end()
    said = capsys.readouterr().err
    assert ("is not this streamd" if documents else "ended while it was observed") in said


def test_an_idle_daemon_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = [status(100.0 + n, 12, busy_s=0.001, sink_busy_s=0.001) | {"config": "x"} for n in range(8)]
    answering = Answering(tmp_path / "idle.sock", documents)
    try:
        assert main(["capacity", "--socket", str(tmp_path / "idle.sock")]) == 1
    finally:
        answering.end()
    assert "Offer a load" in capsys.readouterr().err


@pytest.fixture
def configured(tmp_path: Path) -> list[str]:
    """The options of a configuration whose daemon does not run, and a benchmark's result beside it."""
    (tmp_path / "streamd.toml").write_text(f'[daemon]\nstate_dir = "{tmp_path}"\n{TOML}')
    rows = [Row(name="tcp_wall", what="", value=100_000.0, unit="records/s")]
    result = document(rows, {}, "2026-01-31T08:00:00Z", quick=False)
    (tmp_path / "bench.json").write_text(json.dumps(result))
    return ["capacity", "--config", str(tmp_path / "streamd.toml")]


def test_a_benchmark_gives_the_speed_of_a_configuration(
    configured: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = ["--bench", str(tmp_path / "bench.json")]
    assert main([*configured, *bench, "--rate", "udp=90000/s"]) == 0
    assert "speed: 10.00 µs of one core a frame (tcp_wall of" in capsys.readouterr().out
    assert main([*configured, *bench, "--rate", "udp=110000/s"]) == 1
    assert "of udp is more than the capacity" in " ".join(capsys.readouterr().out.split())
    assert main([*configured, *bench, "--rate", "×2"]) == 1
    assert "give the load, like --rate 50000/s" in capsys.readouterr().err
    assert main([*configured, "--bench", str(tmp_path / "none.json")]) == 1
    assert "cannot read" in capsys.readouterr().err


def test_a_ledger_gives_loads_and_speed(
    configured: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(write(tmp_path / "streamd.db", (5, 500, 500, 0), (10, 3000, 1500, 900)))
    history = ["--since", "2026-01-31T00:00:00Z"]
    assert main([*configured, *history, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scenario"]["for_s"] == 10
    assert found["buffers"][0]["peak"] == pytest.approx(1500)
    assert main([*configured, *history, "--rate", "×100", "--ledger", str(tmp_path / "streamd.db")]) == 1
    assert "Loses " in capsys.readouterr().out
    bench = ["--bench", str(tmp_path / "bench.json")]
    assert main([*configured, *history, *bench, "--rate", "×100", "--json"]) == 0
    capsys.readouterr()


def test_a_benchmark_without_the_cost_of_a_step_gives_no_certain_answer(
    configured: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "streamd.toml"
    steps = 'steps = [{ type = "filter", where = "True" }]\n[pipelines.copy]'
    config.write_text(config.read_text().replace("[pipelines.copy]", steps))
    asked = [*configured, "--bench", str(tmp_path / "bench.json"), "--rate", "udp=50/s", "--json"]
    assert main(asked) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["holds"], found["certain"]) == (True, False)
    assert main([*asked, "--step-cost", "+5us"]) == 0
    assert json.loads(capsys.readouterr().out)["certain"] is True


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--since", "1h"], 1, "has no arrivals since"),
        (["--since", "5"], 2, "--since 5: '5' has no unit: write \"5s\""),
        (["--ledger", "/none/x.db"], 1, "there is no /none/x.db yet"),
        (["--bench", "streamd.toml"], 1, "cannot read streamd.toml"),
    ],
)
def test_files_that_show_nothing_are_refused_with_a_reason(
    arguments: list[str],
    code: int,
    text: str,
    configured: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asyncio.run(write(tmp_path / "streamd.db", (5, 500, 500, 0)))
    assert main([*configured, *arguments]) == code
    assert text in capsys.readouterr().err
