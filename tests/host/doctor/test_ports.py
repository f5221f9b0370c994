import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamd import config
from streamd.host.doctor.host import Host
from streamd.host.doctor.ports import judge, look
from streamd.host.socket_unit import first_unprivileged_port

FAULT = "source lab: cannot listen on 127.0.0.1:9999: Address already in use"


def test_a_port_in_strange_hands_is_a_problem_with_the_way_to_find_them() -> None:
    finding = judge("sources.lab", "udp [::1]:9999", "other", FAULT)
    assert (finding.severity, finding.text) == ("problem", FAULT)
    assert finding.paste == ("ss -lnptu 'sport = :9999'",)


def test_free_and_held_by_our_own_is_fine() -> None:
    assert judge("sources.lab", "udp 127.0.0.1:9999", "free", None).text.endswith("is free")
    for holder, word in (("daemon", "running daemon"), ("socket_unit", "streamd.socket")):
        finding = judge("sources.lab", "udp 127.0.0.1:9999", holder, FAULT)  # type: ignore[arg-type]  # a loop's words are plain texts
        assert finding.severity == "fine"
        assert word in finding.text


@pytest.mark.parametrize(
    ("held", "drop_in", "severity"),
    [
        ("", "", "problem"),
        ("ListenDatagram=127.0.0.1:514", "", "fine"),
        ("", "AmbientCapabilities=CAP_NET_BIND_SERVICE\nPrivateUsers=no", "fine"),
        ("", "AmbientCapabilities=CAP_NET_BIND_SERVICE\nPrivateUsers=yes", "problem"),
    ],
)
def test_a_privileged_port_is_a_problem_unless_systemd_holds_it_or_the_unit_lets_the_service_bind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str, drop_in: str, severity: str
) -> None:
    if first_unprivileged_port() <= 514:
        pytest.skip("every user may bind the port here")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "streamd.toml"
    path.write_text(
        '[admin]\nlisten = "none"\n[sources.lab]\ntype = "udp"\nlisten = "127.0.0.1:514"\n'
        '[pipelines.main]\nsources = ["lab"]\nsinks = ["db"]\n[sinks.db]\ntype = "sqlite"\n'
    )
    units = tmp_path / "etc/systemd/system"
    (units / "streamd.service.d").mkdir(parents=True)
    (units / "streamd.service").write_text(
        f"[Service]\nExecStart=/usr/bin/python3 -m streamd run --config {path}\nPrivateUsers=yes\n"
    )
    (units / "streamd.service.d" / "mine.conf").write_text(f"[Service]\n{drop_in}\n")
    (units / "streamd.socket").write_text(f"[Socket]\n{held}\n")
    (finding,) = look(config.load(path), Host(path, tmp_path))
    assert finding.severity == severity
    assert ("streamd install-service" in finding.text) == (severity == "problem")


@pytest.fixture
def sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with a unix socket of `[admin]` and one of a source in the same folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "streamd.toml"
    path.write_text(
        '[admin]\nlisten = "unix:admin.sock"\n[sources.lab]\ntype = "unix"\npath = "lab.sock"\n'
        '[pipelines.main]\nsources = ["lab"]\nsinks = ["db"]\n[sinks.db]\ntype = "sqlite"\n'
        f'[daemon]\nstate_dir = "{tmp_path}/state"\n'
    )
    return path


def found(path: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for finding in look(config.load(path), Host(path, path.parent / "no-units")):
        yield finding.severity, finding.text, finding.paste


def test_a_unix_socket_of_a_source_and_of_the_admin_address_is_judged_and_not_made(sockets: Path) -> None:
    state = sockets.parent / "state"
    assert list(found(sockets)) == [
        ("fine", f"sources.lab: unix {state}/lab.sock is free", ()),
        ("fine", f"[admin]: unix {state}/admin.sock is free", ()),
    ]
    assert list(sockets.parent.iterdir()) == [sockets]


@pytest.mark.parametrize("name", ["lab.sock", "admin.sock"])
def test_a_unix_socket_in_strange_hands_is_a_problem(sockets: Path, name: str) -> None:
    path = sockets.parent / "state" / name
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        other.listen()
        ((severity, text, paste),) = (one for one in found(sockets) if name in one[1])
    assert (severity, paste) == ("problem", (f"ss -lxp src {path}",))
    assert f"cannot listen on {path}: it is taken" in text
    path.unlink()
    path.write_text("data")
    ((severity, text, paste),) = (one for one in found(sockets) if name in one[1])
    assert (severity, paste) == ("problem", ())
    assert "there is a file that is no socket" in text
