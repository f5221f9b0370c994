from pathlib import Path

import pytest

from streamd.host.doctor.host import Host

CONFIG = Path("/etc/streamd/streamd.toml")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    units = tmp_path / "etc/systemd/system"
    (units / "streamd.service.d").mkdir(parents=True)
    (units / "streamd.service").write_text(
        f"[Service]\nExecStart=/opt/streamd/bin/python3 -m streamd run --config {CONFIG}\n"
        "User=streamd\nLimitNOFILE=10\n"
    )
    (units / "streamd.service.d" / "files.conf").write_text("[Service]\nLimitNOFILE=4096:8192\n")
    (units / "streamd.socket").write_text("[Socket]\nListenDatagram=127.0.0.1:9999\nReceiveBuffer=8388608\n")
    return tmp_path


def test_the_units_are_read_where_the_service_runs_this_configuration(root: Path) -> None:
    host = Host(CONFIG, root)
    assert host.is_service
    assert host.service_value("User") == "streamd"
    assert host.service_value("LimitNOFILE") == "4096:8192"
    assert host.socket_receive_buffer_bytes == 8388608


def test_another_configuration_has_nothing_to_do_with_the_service(root: Path) -> None:
    host = Host(Path("/home/me/streamd.toml"), root)
    assert not host.is_service
    assert host.service_value("User") is None
    assert host.socket_receive_buffer_bytes is None


def test_what_is_hidden_or_strange_is_not_known(tmp_path: Path) -> None:
    host = Host(CONFIG, tmp_path)
    assert host.text("/proc/sys/net/core/rmem_max") is None
    assert host.number("/proc/sys/net/core/rmem_max") is None
    (tmp_path / "number").write_text("12 13\n")
    assert host.number("/number") is None
    (tmp_path / "number").write_text("12\n")
    assert host.number("/number") == 12
