"""Also about `host/running.py`."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamd.cli import main
from streamd.cli.doctor import CHECKS, examine
from streamd.host.doctor.host import Host

CONFIG = """
[daemon]
state_dir = "{folder}/state"
[admin]
listen = "none"
[sources.lab]
type = "udp"
listen = "127.0.0.1:{port}"
receive_buffer = "4KiB"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
[pipelines.main]
sources = ["lab", "floor"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
retention = {{ max_size = "1MiB", max_age = "1d" }}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir(mode=0o700)
    path = tmp_path / "streamd.toml"
    path.write_text(CONFIG.format(folder=tmp_path, port=0))
    path.chmod(0o644)
    return path


def test_every_check_has_something_to_say_and_changes_nothing(path: Path) -> None:
    before = {(file, file.stat().st_mtime_ns) for file in path.parent.rglob("*")}
    findings = examine(path, Host(path))
    without_tls = {check.CHECK for check in CHECKS} - {"certificates"}
    assert {finding.check for finding in findings} == without_tls
    assert [finding for finding in findings if finding.severity == "problem"] == []
    assert {file for file, _ in before} == set(path.parent.rglob("*"))
    assert (path, path.stat().st_mtime_ns) in before


def test_a_problem_comes_first_with_its_lines_and_exit_code_1(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.chmod(0o666)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        path.write_text(CONFIG.format(folder=path.parent, port=port))
        assert main(["doctor", "--config", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("problem  permissions")
    assert lines[1] == f"    chmod go-w {path}"
    assert f"    ss -lnptu 'sport = :{port}'" in lines
    assert lines[-1].startswith("2 problem")


def test_programs_read_the_same(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--config", str(path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert {"severity", "check", "text", "paste"} == set(told["findings"][0])


def test_a_sandbox_that_hides_the_kernel_makes_it_unknown(path: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    findings = {finding.check: finding.severity for finding in examine(path, Host(path, tmp_path / "empty"))}
    for check in ("receive_buffer", "backlog", "kernel_drops", "memory", "file_system"):
        assert findings[check] == "unknown"


def test_what_the_socket_unit_holds_is_neither_tried_nor_bound_by_the_kernels_limit(
    path: Path, tmp_path: Path
) -> None:
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    (units / "streamd.service").write_text(f"[Service]\nExecStart=python3 run --config {path}\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        (units / "streamd.socket").write_text(f"[Socket]\nListenDatagram={address}\nReceiveBuffer=8192\n")
        path.write_text(CONFIG.format(folder=path.parent, port=address.rpartition(":")[2]))
        findings = examine(path, Host(path, tmp_path))
    told = {finding.check: finding for finding in findings if "sources.lab" in finding.text}
    assert told["ports"].text.endswith("is held by streamd.socket")
    assert told["receive_buffer"].text.endswith("the socket unit gives 8 KiB")


def test_the_certificate_and_the_key_of_a_source_are_looked_at(
    path: Path, new_authority: Callable[..., Any]
) -> None:
    cert, key = new_authority(path.parent).issue("server", days=5)
    key.chmod(0o644)
    tls = f"tls = {{ cert = '{cert}', key = '{key}' }}\n"
    path.write_text(path.read_text().replace('type = "tcp"\n', f'type = "tcp"\n{tls}'))
    told = [finding for finding in examine(path, Host(path)) if finding.check == "certificates"]
    assert [finding.severity for finding in told] == ["problem", "advice"]
    assert told[0].paste == (f"chmod o= {key}",)
    key.unlink()
    told = [finding for finding in examine(path, Host(path)) if finding.check == "certificates"]
    assert [finding.severity for finding in told] == ["problem"]


def test_a_state_folder_before_the_first_start_is_unknown(path: Path) -> None:
    (path.parent / "state").rmdir()
    found = [one for one in examine(path, Host(path)) if one.check == "permissions"]
    text = f"state folder {path.parent}/state does not exist yet: the first start makes it"
    assert ("unknown", text) in [(one.severity, one.text) for one in found]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_configuration_of_another_user_is_a_problem(path: Path) -> None:
    os.chown(path, 12345, -1)
    assert "permissions" in {f.check for f in examine(path, Host(path)) if f.severity == "problem"}


def test_an_added_file_and_a_module_that_others_may_change_are_problems(path: Path) -> None:
    (path.parent / "conf.d").mkdir()
    added, module = path.parent / "conf.d" / "10-more.toml", path.parent / "doctored_steps.py"
    step = '{ type = "python", function = "doctored_steps:keep" }'
    added.write_text(f"""
[sources.more]
type = "generate"
[sinks.more]
type = "sqlite"
table = "more"
[pipelines.more]
sources = ["more"]
sinks = ["more"]
steps = [{step}]
""")
    module.write_text("def keep(record):\n    return record\n")
    for file in (added, module):
        file.chmod(0o666)
    texts = [f.text for f in examine(path, Host(path)) if (f.check, f.severity) == ("permissions", "problem")]
    assert sorted(text.partition(" (")[0] for text in texts) == sorted(map(str, (added, module)))


def test_a_wrong_configuration_is_exit_code_2(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text("[daemon]\nworker = 5\n")
    assert main(["doctor", "--config", str(path)]) == 2
    assert "streamd.toml:2" in capsys.readouterr().err
