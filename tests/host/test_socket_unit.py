import socket
from pathlib import Path

import pytest

from streamd import config
from streamd.config import Loaded
from streamd.core.errors import Taken
from streamd.core.settings import parse_address
from streamd.host import units
from streamd.host.socket_unit import SocketUnit, UnitSockets, installed
from streamd.net.listen import OwnSockets

TEXT = """
[admin]
listen = "none"
[sources.a]
type = "udp"
listen = "127.0.0.1:9991"
[sources.b]
type = "tcp"
listen = "127.0.0.1:{tcp}"
[pipelines.main]
sources = ["a", "b"]
sinks = ["db"]
[sinks.db]
type = "sqlite"
"""


def load(tmp_path: Path, tcp: int = 9992) -> Loaded:
    path = tmp_path / "streamd.toml"
    path.write_text(TEXT.format(tcp=tcp))
    return config.load(path)


def unit_of(tmp_path: Path, loaded: Loaded, more: str = "") -> SocketUnit | None:
    """As it was installed for the loaded configuration, with lines of an administrator."""
    path = tmp_path / "streamd.toml"
    service, unit = tmp_path / "streamd.service", tmp_path / "streamd.socket"
    service.write_text(units.service_unit(loaded.config, Path("/usr/bin/python3"), path))
    unit.write_text((units.socket_unit(loaded.config) or "") + more)
    return installed(loaded.config, path, service, unit)


def test_what_was_installed_is_held(tmp_path: Path) -> None:
    unit = unit_of(tmp_path, load(tmp_path))
    assert unit is not None
    assert [one.source for one in unit.held] == ["a", "b"]
    assert (unit.missing, unit.unused) == ([], [])
    assert "  source a: udp 127.0.0.1:9991" in unit.lines()


def test_what_changed_since_is_told(tmp_path: Path) -> None:
    unit_of(tmp_path, load(tmp_path))
    loaded = load(tmp_path, tcp=9993)
    unit = installed(
        loaded.config, tmp_path / "streamd.toml", tmp_path / "streamd.service", tmp_path / "streamd.socket"
    )
    assert unit is not None
    assert [one.source for one in unit.missing] == ["b"]
    assert unit.describe()["unused"] == ["tcp 127.0.0.1:9992"]
    assert len([line for line in unit.lines() if "install-service" in line]) == 2


def test_lines_written_by_hand_are_understood(tmp_path: Path) -> None:
    more = "ListenDatagram=514\nListenStream=/run/x.sock\nListenStream=vsock:2:1234\n"
    unit = unit_of(tmp_path, load(tmp_path), more)
    assert unit is not None
    assert unit.describe()["unused"] == ["udp [::]:514"]


def test_a_service_with_another_configuration_says_nothing(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    unit_of(tmp_path, loaded)
    other = tmp_path / "other.toml"
    assert installed(loaded.config, other, tmp_path / "streamd.service", tmp_path / "streamd.socket") is None


def test_a_host_without_the_service_says_nothing(tmp_path: Path) -> None:
    assert installed(load(tmp_path).config, tmp_path / "x", tmp_path / "no.service", tmp_path / "no") is None


def test_a_port_the_unit_holds_is_not_tried(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        loaded = load(tmp_path, tcp=taken.getsockname()[1])
        unit = unit_of(tmp_path, loaded)
        assert unit is not None
        address = parse_address(f"127.0.0.1:{taken.getsockname()[1]}")
        UnitSockets(unit).rehearse(address, socket.SOCK_STREAM, "source b")
        with pytest.raises(Taken, match="source b: cannot listen"):
            OwnSockets().rehearse(address, socket.SOCK_STREAM, "source b")
