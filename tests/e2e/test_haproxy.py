"""The real HAProxy before a daemon: the records have the addresses of its clients."""

import contextlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[sources.plain]
type = "tcp"
listen = "127.0.0.1:0"
codec = "text"
proxies = ["127.0.0.1"]
allow = ["127.0.0.0/24"]
[sources.secure]
type = "tcp"
listen = "127.0.0.1:0"
codec = "text"
proxies = ["127.0.0.1"]
tls = { cert = "server.pem", key = "server.key" }
[pipelines.main]
sources = ["plain", "secure"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
"""
DEFAULTS = """
defaults
    mode tcp
    timeout connect 60s
    timeout client 60s
    timeout server 60s
"""
FRONTEND = """
listen {name}
    bind fd@{listen}
    server streamd 127.0.0.1:{to} {how}
"""


@contextlib.contextmanager
def haproxy(folder: Path, ways: dict[str, tuple[int, str]]) -> Iterator[dict[str, int]]:
    """HAProxy with one listener for each way: (port of the server, how its line ends); yields their ports."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        pytest.skip("needs haproxy")
    with contextlib.ExitStack() as listeners:
        # Listening sockets that HAProxy inherits: a connection waits there until it has started.
        socks = {name: listeners.enter_context(socket.create_server(("127.0.0.1", 0))) for name in ways}
        text = DEFAULTS
        for name, (to, how) in ways.items():
            text += FRONTEND.format(name=name, listen=socks[name].fileno(), to=to, how=how)
        path = folder / "haproxy.cfg"
        path.write_text(text)
        with (folder / "haproxy.log").open("wb") as log:
            handles = [sock.fileno() for sock in socks.values()]
            process = subprocess.Popen(
                [program, "-db", "-f", str(path)], stdout=log, stderr=log, pass_fds=handles
            )
        ports = {name: sock.getsockname()[1] for name, sock in socks.items()}
    try:
        yield ports
    finally:
        process.terminate()
        process.wait(60)


def test_behind_haproxy_records_and_limits_have_the_address_of_the_client(
    start: Callable[..., Any], wait_until: Callable[..., Any], new_authority: Any, tmp_path: Path
) -> None:
    authority = new_authority(tmp_path)
    authority.issue("server")
    daemon = start(CONFIG)
    plain, secure = daemon.address("plain")[1], daemon.address("secure")[1]
    ways = {
        "v1": (plain, "send-proxy"),
        "v2": (plain, "send-proxy-v2"),
        "tlvs": (plain, "send-proxy-v2 proxy-v2-options crc32c,unique-id"),
        "tls": (secure, "send-proxy-v2"),
        "none": (plain, ""),
    }
    with haproxy(tmp_path, ways) as ports:
        sent = {}
        for n, name in enumerate(("v1", "v2", "tlvs", "tls")):
            with socket.create_connection(
                ("127.0.0.1", ports[name]), timeout=60, source_address=(f"127.0.0.{n + 2}", 0)
            ) as raw:
                sent[name] = "{}:{}".format(*raw.getsockname())
                if name == "tls":
                    context = ssl.create_default_context(cafile=authority.ca)
                    with context.wrap_socket(raw, server_hostname="localhost") as sock:
                        sock.sendall(name.encode() + b"\n")
                        sock.unwrap()
                else:
                    raw.sendall(name.encode() + b"\n")
                    raw.shutdown(socket.SHUT_WR)
                    assert raw.recv(1) == b""
        for name, host in (("none", "127.0.0.1"), ("v2", "127.0.1.9")):
            with (
                contextlib.suppress(ConnectionResetError),
                socket.create_connection(("127.0.0.1", ports[name]), 60, (host, 0)) as raw,
            ):
                raw.sendall(b"never\n")
                assert raw.recv(1) == b""
        daemon.wait_rows(4)
        wait_until(lambda: daemon.events("proxy_failed"), "the refusal in the log")
    daemon.stop()
    rows = daemon.query("SELECT record ->> 'message', peer FROM records")
    assert dict(rows) == sent
    assert len(rows) == 4
    assert daemon.reasons("proxy_failed") == {"missing": 1}
    assert daemon.reasons("connections_refused") == {"not_allowed": 1}
