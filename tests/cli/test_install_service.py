"""Also about `cli/uninstall_service.py` and `host/installed_service.py`."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamd import config
from streamd.cli import install_service, main
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.host import units

SHIPPED = Path(__file__).parents[2] / "systemd"
CATCH_ALL = """
[pipelines.main]
sources = [{sources}]
sinks = ["db"]
[sinks.db]
type = "sqlite"
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another system's root; the interpreter of the tests may stand where a service cannot go."""
    monkeypatch.setattr(install_service, "refuse_unreachable", lambda _: None)
    monkeypatch.setattr(install_service, "refuse_incomplete", lambda _: None)
    return tmp_path / "root"


@pytest.fixture
def install(root: Path) -> Callable[..., int]:
    return lambda *more: main(["install-service", "--prefix", str(root), *map(str, more)])


def under(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def write_config(path: Path, *sources: str, more: str = "") -> Path:
    names = ", ".join(f'"{source.split("]")[0]}"' for source in sources)
    tables = "".join(f"[sources.{source}\n" for source in sources)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(more + tables + CATCH_ALL.replace("{sources}", names))
    return path


def test_the_shipped_units_are_what_is_installed() -> None:
    example = config.load(install_service.EXAMPLE).config
    service = units.service_unit(example, Path("/opt/streamd/bin/python3"), units.CONFIG)
    assert (SHIPPED / "streamd.service").read_text() == service
    assert (SHIPPED / "streamd.socket").read_text() == units.socket_unit(example)
    assert (SHIPPED / "sysusers.d" / "streamd.conf").read_text() == units.SYSUSERS_TEXT


def test_everything_is_written_and_what_to_run_next_is_said(
    root: Path, install: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert install() == 0
    service = under(root, units.SERVICE).read_text()
    assert f"ExecStart={sys.executable} -I" in service
    assert "--config /etc/streamd/streamd.toml" in service
    assert under(root, units.CONFIG).read_text() == install_service.EXAMPLE.read_text()
    assert under(root, units.SYSUSERS).exists()
    said = capsys.readouterr().out
    for command in ("systemd-sysusers", "daemon-reload", "enable --now streamd.socket streamd.service"):
        assert command in said


def test_where_it_was_installed_before_it_says_to_restart_and_the_sockets_only_where_they_are_others(
    root: Path, install: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert install() == 0
    assert "systemctl restart" not in capsys.readouterr().out
    assert install() == 0
    said = capsys.readouterr().out
    assert "systemctl restart streamd.service\n" in said
    assert "--now" not in said
    write_config(under(root, units.CONFIG), 'a]\ntype = "udp"\nlisten = "0.0.0.0:514"')
    assert install() == 0
    assert "systemctl restart streamd.socket streamd.service\n" in capsys.readouterr().out


def test_a_changed_configuration_is_kept_and_its_listeners_installed(
    root: Path, install: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(under(root, units.CONFIG), 'a]\ntype = "udp"\nlisten = "0.0.0.0:514"')
    before = path.read_text()
    assert install() == 0
    assert path.read_text() == before
    assert f"kept    {path}" in capsys.readouterr().out
    socket_unit = under(root, units.SOCKET).read_text()
    assert "ListenDatagram=0.0.0.0:514\n" in socket_unit
    assert "FileDescriptorName=a\n" in socket_unit


def test_a_dry_run_prints_and_writes_nothing(
    root: Path, install: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert install("--dry-run") == 0
    assert "ListenStream=127.0.0.1:9999" in capsys.readouterr().out
    assert not root.exists()


def test_a_wrong_configuration_writes_nothing(root: Path, install: Callable[..., int]) -> None:
    path = under(root, units.CONFIG)
    path.parent.mkdir(parents=True)
    path.write_text("[sources.a]\n")
    assert install() == 2
    assert not under(root, units.SERVICE).exists()


def test_the_socket_unit_goes_when_no_source_listens(root: Path, install: Callable[..., int]) -> None:
    assert install() == 0
    write_config(under(root, units.CONFIG), 'a]\ntype = "generate"\nrate = 1')
    assert install() == 0
    assert not under(root, units.SOCKET).exists()
    assert "streamd.socket" not in under(root, units.SERVICE).read_text()


def test_uninstall_takes_away_the_units_and_keeps_the_configuration(
    root: Path, install: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    install()
    assert main(["uninstall-service", "--prefix", str(root)]) == 0
    left = [path for path in root.rglob("*") if path.is_file()]
    assert left == [under(root, units.CONFIG)]
    assert "kept" in capsys.readouterr().out
    assert main(["uninstall-service", "--prefix", str(root)]) == 0
    assert "nothing was installed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "folder",
    ["/home/me/venv", "/root/venv", "/run/user/1/venv", "/tmp/v", "/var/tmp/v"],  # noqa: S108 - names
)
def test_an_interpreter_the_sandbox_hides_is_refused(folder: str) -> None:
    with pytest.raises(EnvironmentFault, match=r"hides /.*make install"):
        install_service.refuse_unreachable([Path(folder) / "bin/python3"])


def test_an_interpreter_behind_a_link_into_a_hidden_folder_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "python3"
    link.symlink_to("/root/python3")
    with pytest.raises(EnvironmentFault, match="hides"):
        install_service.refuse_unreachable([link])


def test_an_interpreter_only_root_may_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install_service, "_HIDDEN", dict[str, tuple[str, ...]]())
    python = tmp_path / "closed" / "python3"
    python.parent.mkdir(mode=0o700)
    python.touch(mode=0o755)
    with pytest.raises(EnvironmentFault, match="is closed to other users"):
        install_service.refuse_unreachable([python])


def test_an_interpreter_without_streamd_is_refused(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    with pytest.raises(EnvironmentFault, match="does not find streamd by itself"):
        install_service.refuse_incomplete(bare / "bin" / "python3")


def test_a_configuration_the_sandbox_hides_is_refused(
    root: Path,
    install: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_config(tmp_path / "mine.toml", 'a]\ntype = "generate"\nrate = 1')
    monkeypatch.setattr(install_service, "_HIDDEN", {"PrivateTmp=": (str(tmp_path),)})
    assert install("--config", path) == 1
    assert f"PrivateTmp= hides {tmp_path}" in capsys.readouterr().err
    assert not root.exists()


def test_a_folder_that_cannot_be_written_is_told(
    root: Path, install: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    root.mkdir()
    (root / "etc").write_text("a file")
    assert install() == 1
    assert "cannot write" in capsys.readouterr().err


def load(tmp_path: Path, *sources: str, more: str = "") -> config.Config:
    return config.load(write_config(tmp_path / "x.toml", *sources, more=more)).config


def test_only_fixed_addresses_stand_in_the_socket_unit(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        'a]\ntype = "udp"\nlisten = "[::]:514"\nreceive_buffer = "1MiB"',
        'b]\ntype = "tcp"\nlisten = "127.0.0.1:601"',
        'c]\ntype = "udp"\nlisten = "127.0.0.1:0"',
        'd]\ntype = "udp"\nlisten = "localhost:9000"',
        'e]\ntype = "udp"\nlisten = "127.0.0.1:9001"\nreceive_buffer = "2MiB"',
        'f]\ntype = "generate"\nrate = 1',
    )
    unit = units.socket_unit(loaded)
    assert unit is not None
    assert [line for line in unit.splitlines() if line.startswith(("Listen", "ReceiveBuffer"))] == [
        "ListenDatagram=[::]:514",
        "ListenStream=127.0.0.1:601",
        "ListenDatagram=127.0.0.1:9001",
        "ReceiveBuffer=2097152",
    ]


def test_a_privileged_port_at_a_name_is_refused(
    install: Callable[..., int], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(under(root, units.CONFIG), 'a]\ntype = "udp"\nlisten = "localhost:514"')
    assert install() == 2
    assert "write the IP address" in capsys.readouterr().err


def test_folders_beyond_the_state_folder_become_writable(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        'a]\ntype = "generate"\nrate = 1',
        more='[ledger]\npath = "/data/100% of it/ledger.db"\n'
        '[dead_letters]\npath = "/var/lib/streamd/d.db"\n',
    )
    unit = units.service_unit(loaded, Path("/opt/py thon"), Path("/etc/a b.toml"))
    assert 'ReadWritePaths=-"/data/100%% of it"\n' in unit
    assert unit.count("ReadWritePaths") == 1
    assert 'ExecStart="/opt/py thon" -I -X faulthandler -m streamd run --config "/etc/a b.toml"\n' in unit


def test_a_path_cannot_smuggle_in_a_line(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        'a]\ntype = "generate"\nrate = 1',
        more='[ledger]\npath = "/data\\nUser=root/ledger.db"\n',
    )
    with pytest.raises(ConfigError, match="cannot be written in a unit file"):
        units.service_unit(loaded, Path("/opt/python"), units.CONFIG)


def test_a_unix_source_sees_who_its_senders_are(tmp_path: Path) -> None:
    loaded = load(tmp_path, 'a]\ntype = "unix"\npath = "/run/streamd/in.sock"')
    unit = units.service_unit(loaded, Path("/x"), units.CONFIG)
    assert "PrivateUsers=no\n" in unit
    assert "PrivateUsers=yes\n" not in unit


def test_a_stop_may_take_as_long_as_the_configuration_says(tmp_path: Path) -> None:
    loaded = load(tmp_path, 'a]\ntype = "generate"\nrate = 1', more='[daemon]\ndrain_timeout = "5m"\n')
    assert "TimeoutStopSec=330s\n" in units.service_unit(loaded, Path("/x"), units.CONFIG)


needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@pytest.fixture
def shipped_units(tmp_path: Path) -> Path:
    """The shipped shipped_units, with an interpreter that exists here."""
    text = (SHIPPED / "streamd.service").read_text()
    (tmp_path / "streamd.service").write_text(text.replace("/opt/streamd/bin/python3", "/bin/sh"))
    shutil.copy(SHIPPED / "streamd.socket", tmp_path)
    return tmp_path


def analyze(shipped_units: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"}
    return subprocess.run(
        ["systemd-analyze", *command],
        cwd=shipped_units,
        env=environ,
        check=False,
        capture_output=True,
        text=True,
    )


@needs_analyze
def test_systemd_has_nothing_to_say_against_the_units(shipped_units: Path) -> None:
    done = analyze(shipped_units, "verify", "./streamd.service", "./streamd.socket")
    assert (done.returncode, done.stderr) == (0, "")


@needs_analyze
def test_the_sandbox_is_as_tight_as_it_was(shipped_units: Path) -> None:
    done = analyze(shipped_units, "security", "--offline=true", "--threshold=12", "./streamd.service")
    assert done.returncode == 0, done.stdout
