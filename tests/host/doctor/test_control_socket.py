"""Whose the control socket is, and whether a daemon answers there."""

import json
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamd.config import Loaded, load
from streamd.core.errors import EnvironmentFault
from streamd.host.doctor.control_socket import judge_fault, judge_file, look
from streamd.host.doctor.finding import Finding
from streamd.host.doctor.host import Host

SOCKET = Path("/run/streamd/control sock")
TOML = """
[daemon]
state_dir = "{folder}"
[sources.lab]
type = "generate"
[pipelines.main]
sources = ["lab"]
sinks = ["out"]
[sinks.out]
type = "stdout"
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    (tmp_path / "streamd.toml").write_text(TOML.format(folder=tmp_path))
    return load(tmp_path / "streamd.toml")


def found(loaded: Loaded) -> Finding:
    (finding,) = look(loaded, Host(loaded.path, loaded.path.parent))
    return finding


@contextmanager
def answering(path: Path, body: str, code: int = 200) -> Iterator[None]:
    """A program that answers one request at the socket."""

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            head = f"HTTP/1.1 {code} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            connection.sendall(f"{head}{body}".encode())

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(30)
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            thread.join()


def status(config: Path) -> str:
    return json.dumps({
        "version": "1.2.3", "run_id": "r", "config": str(config), "config_loaded_at": "2026-01-31T08:00:00Z",
        "reload_failure": None, "phase": "running", "ready": True, "reasons": [], "uptime_s": 1.0,
        "imbalances": [], "sources": [], "pipelines": [], "sinks": [], "dead_letters": {},
    })  # fmt: skip


def test_without_a_daemon_nothing_can_be_said(loaded: Loaded) -> None:
    finding = found(loaded)
    assert finding.severity == "unknown"
    assert finding.text.endswith("control.sock does not exist: no daemon runs on this configuration")


def test_a_daemon_that_answers_is_fine_if_it_runs_on_this_configuration(loaded: Loaded) -> None:
    path = loaded.state_dir / "control.sock"
    with answering(path, status(loaded.path)):
        assert found(loaded) == Finding("fine", "control_socket", f"streamd 1.2.3 answers at {path}")
    path.unlink()
    with answering(path, status(Path("/etc/other.toml"))):
        finding = found(loaded)
    assert finding.severity == "advice"
    assert finding.text.endswith("runs on /etc/other.toml")


def test_another_program_that_answers_is_a_problem(loaded: Loaded) -> None:
    with answering(loaded.state_dir / "control.sock", "{}"):
        finding = found(loaded)
    assert finding.severity == "problem"
    assert finding.text.endswith("is not streamd")


def test_a_socket_that_a_daemon_left_behind_is_replaced_by_the_next_start(loaded: Loaded) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(loaded.state_dir / "control.sock"))
    finding = found(loaded)
    assert finding.severity == "advice"
    assert "the next start replaces it" in finding.text


def test_a_file_in_its_place_is_a_problem(loaded: Loaded) -> None:
    (loaded.state_dir / "control.sock").touch()
    assert found(loaded).severity == "problem"


def test_a_control_socket_that_is_turned_off_is_fine(loaded: Loaded) -> None:
    loaded.path.write_text(loaded.path.read_text() + '[control]\npath = "none"\n')
    assert found(load(loaded.path)).severity == "fine"


@pytest.mark.parametrize(
    ("mode", "owner", "text"),
    [
        (stat.S_IFSOCK | 0o660, 1000, None),
        (stat.S_IFSOCK | 0o600, 0, None),
        (stat.S_IFSOCK | 0o600, 1001, "belongs to user 1001, who can answer in the place of the daemon"),
        (stat.S_IFSOCK | 0o666, 0, "has mode 0666: every user can reload the daemon"),
        (stat.S_IFREG | 0o600, 0, "is no socket"),
    ],
)
def test_the_file_of_the_socket_is_for_trusted_users(mode: int, owner: int, text: str | None) -> None:
    finding = judge_file(SOCKET, mode, owner, {0, 1000})
    if text is None:
        assert finding is None
    else:
        assert finding is not None
        assert finding.severity == "problem"
        assert text in finding.text
        assert finding.paste[0].endswith(" '/run/streamd/control sock'")


@pytest.mark.parametrize(
    ("cause", "severity"),
    [
        (TimeoutError(), "problem"),
        (ConnectionResetError(), "problem"),
        (ConnectionRefusedError(), "advice"),
        (PermissionError(), "unknown"),
        (None, "problem"),
    ],
)
def test_why_no_daemon_answers_decides(cause: OSError | None, severity: str) -> None:
    fault = EnvironmentFault("no answer within 3 s")
    fault.__cause__ = cause
    assert judge_fault(SOCKET, fault).severity == severity


def test_the_user_of_the_service_is_trusted(loaded: Loaded, tmp_path: Path) -> None:
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    service = f"[Service]\nUser=daemon\nExecStart=python3 run --config {loaded.path}\n"
    (units / "streamd.service").write_text(service)
    assert Host(loaded.path, tmp_path).service_uid == 1
    (units / "streamd.service").write_text(service.replace("User=daemon", "User=nobody-at-all"))
    assert Host(loaded.path, tmp_path).service_uid is None
