"""TLS end to end: real clients, new certificates under open connections, failures that are only counted."""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
tls.cert = "server.pem"
tls.key = "server.key"
{tls}
[pipelines.main]
sources = ["floor"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
"""


@pytest.fixture
def authority(new_authority: Any, tmp_path: Path) -> Any:
    made = new_authority(tmp_path)
    made.issue("server")
    made.issue("sensor")
    return made


def secured(daemon: Any, authority: Any, name: str | None = None) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=authority.ca)
    if name is not None:
        context.load_cert_chain(authority.folder / f"{name}.pem", authority.folder / f"{name}.key")
    sock = socket.create_connection(daemon.address("floor"), timeout=30)
    return context.wrap_socket(sock, server_hostname="localhost")


def quiet(daemon: Any) -> bool:
    """Every line of the log is an event of ours, none of them a traceback."""
    lines = [json.loads(line) for line in daemon.stderr.splitlines() if line.startswith("{")]
    return bool(lines) and "Traceback" not in daemon.stderr and not any("exception" in e for e in lines)


def test_python_and_openssl_send_through_tls_and_the_books_balance(
    start: Callable[..., Any], authority: Any
) -> None:
    daemon = start(CONFIG.format(tls='tls.client_ca = "ca.pem"\ntls.allow_names = ["sensor"]'))
    authority.issue("stranger")
    with secured(daemon, authority, "sensor") as sock:
        sock.sendall(b"".join(b'{"n": %d}\n' % n for n in range(5000)))
        sock.unwrap()
    host, port = daemon.address("floor")
    command = ["openssl", "s_client", "-quiet", "-no_ign_eof", "-connect", f"{host}:{port}"]
    command += ["-CAfile", "ca.pem", "-cert", "sensor.pem", "-key", "sensor.key", "-verify_return_error"]
    lines = b"".join(b'{"n": %d}\n' % n for n in range(5000, 5100))
    subprocess.run(command, input=lines, cwd=authority.folder, capture_output=True, timeout=60, check=True)
    for name in ("stranger", None):
        try:
            with secured(daemon, authority, name) as sock:
                sock.sendall(b"never\n")
                assert sock.recv(1) == b""
        except OSError:
            pass
    daemon.wait_rows(5100)
    with socket.create_connection(daemon.address("floor"), timeout=30) as sock:
        sock.sendall(b"<13>plain text\n")
        assert sock.recv(100) == b""
    peers = [peer for (peer,) in daemon.query("SELECT DISTINCT peer FROM records")]
    assert len(peers) == 2
    assert all(peer.endswith(" sensor") for peer in peers)
    daemon.stop()
    assert daemon.reasons("tls_failed") == {"name_not_allowed": 1, "no_certificate": 1, "not_tls": 1}
    assert daemon.books()["floor", "", "", "received"] == 5100
    assert quiet(daemon)


def test_a_new_certificate_is_taken_on_reload_and_a_bad_one_is_not(
    start: Callable[..., Any], authority: Any, wait_until: Callable[..., Any]
) -> None:
    daemon = start(CONFIG.format(tls=""))

    def reload(event: str) -> dict[str, Any]:
        before = len(daemon.events(event))
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(daemon.events(event)) > before, event)
        last: dict[str, Any] = daemon.events(event)[-1]
        return last

    old = secured(daemon, authority)
    first = old.getpeercert(binary_form=True)
    assert "sources_changed" not in reload("reloaded")
    authority.issue("server", days=9)
    assert reload("reloaded")["sources_changed"] == "floor"
    assert "the certificate expires in 9" in daemon.events("certificate_doubtful")[-1]["why"]
    with secured(daemon, authority) as new:
        second = new.getpeercert(binary_form=True)
        assert second != first
        new.sendall(b"new\n")
    (authority.folder / "server.pem").write_text("no certificate")
    assert "source floor" in reload("reload_failed")["why"]
    with secured(daemon, authority) as still:
        assert still.getpeercert(binary_form=True) == second
        still.sendall(b"still\n")
    old.sendall(b"old\n")
    old.close()
    daemon.wait_rows(3)
    with urllib.request.urlopen(f"{daemon.admin()}/metrics", timeout=30) as answer:  # noqa: S310 - the daemon
        assert b'streamd_source_certificate_expiry_timestamp_seconds{source="floor"}' in answer.read()
    daemon.stop()
    assert quiet(daemon)


def test_connects_and_aborts_leave_memory_on_a_plateau(start: Callable[..., Any], authority: Any) -> None:
    daemon = start(CONFIG.format(tls=""))
    context = ssl.create_default_context(cafile=authority.ca)

    def abort(times: int) -> None:
        for number in range(times):
            sock = socket.create_connection(daemon.address("floor"), timeout=30)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            if number % 2:
                sock = context.wrap_socket(sock, server_hostname="localhost")
            else:
                sock.sendall(b"\x16\3\1\2\0\1")
            sock.close()

    abort(200)
    with secured(daemon, authority) as sock:
        sock.sendall(b"between\n")
    daemon.wait_rows(1)
    before_bytes = daemon.peak_bytes
    abort(600)
    with secured(daemon, authority) as sock:
        sock.sendall(b"after\n")
    daemon.wait_rows(2)
    assert daemon.peak_bytes - before_bytes < 6 << 20  # 600 sessions that stayed would take 10 MiB
    daemon.stop()
    assert quiet(daemon)


def test_a_certificate_that_does_not_fit_ends_the_start_and_check_says_so(
    start: Callable[..., Any], authority: Any, tmp_path: Path
) -> None:
    authority.issue("server2")
    (tmp_path / "server.key").write_bytes((tmp_path / "server2.key").read_bytes())
    daemon = start(CONFIG.format(tls=""), ready=False)
    assert daemon.process.wait(60) == 1
    assert "does not belong to the certificate" in daemon.stderr
    assert "Traceback" not in daemon.stderr
    command = [sys.executable, "-m", "streamd", "check", "--config", str(tmp_path / "streamd.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "source floor: the key" in done.stderr
    assert subprocess.run([*command, "--offline"], capture_output=True, check=False).returncode == 0
    config = CONFIG.format(tls="").replace('"server.key"', '{ credential = "server.key" }')
    (tmp_path / "streamd.toml").write_text(config)  # to be read by the service only
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


RSYSLOG = """
global(workDirectory="{folder}" defaultNetstreamDriver="ossl" defaultNetstreamDriverCAFile="{folder}/ca.pem"
  defaultNetstreamDriverCertFile="{folder}/sensor.pem" defaultNetstreamDriverKeyFile="{folder}/sensor.key")
module(load="imfile")
input(type="imfile" file="{folder}/lines.log" tag="test:")
action(type="omfwd" target="127.0.0.1" port="{port}" protocol="tcp" tcp_framing="octet-counted"
  template="RSYSLOG_SyslogProtocol23Format" streamDriver="ossl" streamDriverMode="1"
  streamDriverAuthMode="x509/name" streamDriverPermittedPeers="localhost")
"""
UNPACKED = os.environ.get("STREAMD_TEST_RSYSLOG", "/")
"""Where rsyslog, rsyslog-openssl, libestr0, libfastjson4, liblognorm5 are; `dpkg -x` is enough."""


@pytest.mark.usefixtures("authority")
def test_rsyslog_sends_counted_frames_through_mutual_tls(start: Callable[..., Any], tmp_path: Path) -> None:
    rsyslogd = shutil.which("rsyslogd", path=f"{UNPACKED}/usr/sbin")
    libraries = next(Path(UNPACKED, "usr/lib").glob("*/rsyslog/lmnsd_ossl.so"), None)
    if rsyslogd is None or libraries is None:
        pytest.skip("there is no rsyslogd with OpenSSL, and STREAMD_TEST_RSYSLOG names no folder that has it")
    daemon = start(
        CONFIG.format(
            tls='tls.client_ca = "ca.pem"\ntls.allow_names = ["sensor"]\nframing = "octet_counting"'
        )
    )
    (tmp_path / "lines.log").write_text("".join(f"line {number}\n" for number in range(1000)))
    conf = tmp_path / "rsyslog.conf"
    conf.write_text(RSYSLOG.format(folder=tmp_path, port=daemon.address("floor")[1]))
    command: list[str | Path] = [
        rsyslogd,
        "-n",
        "-f",
        conf,
        "-i",
        tmp_path / "rsyslog.pid",
        "-M",
        libraries.parent,
    ]
    found = {**os.environ, "LD_LIBRARY_PATH": str(libraries.parent.parent)}
    rsyslog = subprocess.Popen(command, env=found, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        daemon.wait_rows(1000)
    finally:
        rsyslog.terminate()
        rsyslog.wait(30)
    daemon.stop()
    lines = [json.loads(record)["message"] for (record,) in daemon.query("SELECT record FROM records")]
    assert {line.rpartition(" line ")[2] for line in lines} >= {str(number) for number in range(1000)}
    assert daemon.reasons("tls_failed") == {}
