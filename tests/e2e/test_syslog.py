"""Syslog from the programs that send it, to a typed table: what was sent is what the table holds."""

import json
import logging
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from logging.handlers import SysLogHandler
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "syslog"
schema = "syslog"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
framing = "auto"
codec = "syslog"
schema = "syslog"
[pipelines.main]
sources = ["lab", "floor"]
sinks = ["syslog"]
[sinks.syslog]
type = "sqlite"
path = "streamd.db"
table = "syslog"
schema = "syslog"
metadata = true
"""
SECURE = """
[sources.secure]
type = "tcp"
listen = "127.0.0.1:0"
framing = "octet_counting"
codec = "syslog"
schema = "syslog"
tls.cert = "server.pem"
tls.key = "server.key"
"""
HANDLED = "SELECT facility, severity, appname, procid, message FROM syslog WHERE source = '{}' ORDER BY rowid"


def program(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def ways(daemon: Any) -> dict[str, list[str]]:
    """The options of `logger` for each way to send."""
    udp, tcp = (f"--port={daemon.address(source)[1]}" for source in ("lab", "floor"))
    return {
        "RFC 3164 by UDP": ["--udp", udp, "--rfc3164"],
        "RFC 5424 by UDP": ["--udp", udp, "--rfc5424"],
        "RFC 3164 by TCP": ["--tcp", tcp, "--rfc3164"],
        "RFC 5424 by TCP": ["--tcp", tcp, "--rfc5424"],
        "RFC 3164, octet counting": ["--tcp", tcp, "--rfc3164", "--octet-count"],
        "RFC 5424, octet counting": ["--tcp", tcp, "--rfc5424", "--octet-count"],
    }


def test_the_logger_of_util_linux(start: Callable[..., Any]) -> None:
    logger = program("logger")
    daemon = start(CONFIG)
    for how, options in ways(daemon).items():
        command = [logger, "--server=127.0.0.1", *options, "--tag=app", "--id=4711", "--priority=local0.err"]
        if "5424" in how:
            command += ["--msgid=ID47", "--sd-id=zoo@123", '--sd-param=tiger="hungry"']
            command += ['--sd-param=note="a\\"b\\]c\\\\d 数"', "--sd-id=empty@1", '--sd-param=e=""']
        subprocess.run([*command, f"{how}: [é] 数据"], check=True, timeout=60)
    daemon.wait_rows(6, "syslog")
    daemon.stop()
    rows = daemon.query(
        "SELECT message, facility, severity, appname, procid, msgid, structured_data, hostname IS NOT NULL,"
        " abs(julianday(timestamp) - julianday('now')) < 2"
        " FROM syslog"
    )
    assert {row[0] for row in rows} == {f"{how}: [é] 数据" for how in ways(daemon)}
    for message, facility, severity, appname, procid, msgid, data, *present in rows:
        assert (facility, severity, appname, procid, present) == (16, 3, "app", "4711", [1, 1])
        protocol = "5424" in message
        assert msgid == ("ID47" if protocol else None)
        if not protocol:
            assert data is None
            continue
        elements = json.loads(data)
        assert set(elements) == {"timeQuality", "zoo@123", "empty@1"}
        assert elements["zoo@123"] == {"tiger": "hungry", "note": 'a"b]c\\d 数'}
        assert elements["empty@1"] == {"e": ""}


def test_pythons_own_handler_by_udp_and_tcp(start: Callable[..., Any]) -> None:
    daemon = start(CONFIG)
    said = [f"{n} kept 数据 é %s \\0 <x> {{}}" for n in range(100)]
    for source, kind in (("lab", socket.SOCK_DGRAM), ("floor", socket.SOCK_STREAM)):
        handler = SysLogHandler(daemon.address(source), SysLogHandler.LOG_LOCAL7, kind)
        handler.ident = "app[7]: "
        log = logging.Logger("app")  # noqa: LOG001 - none that the whole process has
        log.addHandler(handler)
        for text in said:
            log.warning(text)
        handler.close()
    daemon.wait_rows(200, "syslog")
    daemon.stop()
    for source in ("lab", "floor"):
        assert daemon.query(HANDLED.format(source)) == [(23, 4, "app", "7", text) for text in said]


def test_the_load_generator_of_syslog_ng(start: Callable[..., Any]) -> None:
    loggen = program("loggen")
    daemon = start(CONFIG)
    sent = 0
    for source, options in {
        "lab": ["--dgram", "--no-framing"], "floor": ["--stream"],
    }.items():  # fmt: skip
        for kind in ([], ["--syslog-proto", "--sdata", '[test name="value"]']):
            host, port = daemon.address(source)
            command = [
                loggen,
                "--inet",
                *options,
                *kind,
                "--number=100",
                "--rate=10000",
                "--quiet",
                host,
                str(port),
            ]
            subprocess.run(command, check=True, timeout=60, capture_output=True)
            sent += 100
    daemon.wait_rows(sent, "syslog")
    daemon.stop()
    rows = daemon.query(
        "SELECT source, structured_data, appname, procid, count(*), count(DISTINCT message)"
        " FROM syslog GROUP BY 1, 2, 3, 4 ORDER BY 1, 2"
    )
    data = '{"test":{"name":"value"}}'
    assert [(source, found, n, different) for source, found, _, _, n, different in rows] == [
        (source, found, 100, 100) for source in ("floor", "lab") for found in (None, data)
    ]
    assert {(appname, procid) for _, _, appname, procid, *_ in rows} == {("prg00000", "1234")}
    assert daemon.reasons("rejected") == {}


RSYSLOG = """
global(workDirectory="{folder}")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{folder}/log")
action(type="omfwd" target="127.0.0.1" port="{tcp}" protocol="tcp" TCP_Framing="octet-counted"
  template="RSYSLOG_SyslogProtocol23Format")
action(type="omfwd" target="127.0.0.1" port="{tcp}" protocol="tcp"
  template="RSYSLOG_TraditionalForwardFormat")
action(type="omfwd" target="127.0.0.1" port="{udp}" protocol="udp" template="RSYSLOG_ForwardFormat")
"""


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[Callable[[Any], Path]]:
    """Starts rsyslogd that forwards to a daemon; returns the socket where programs of the host log."""
    rsyslogd = program("rsyslogd")
    started: list[subprocess.Popen[bytes]] = []

    def begin(daemon: Any) -> Path:
        udp, tcp = daemon.address("lab")[1], daemon.address("floor")[1]
        config = tmp_path / "rsyslog.conf"
        config.write_text(RSYSLOG.format(folder=tmp_path, udp=udp, tcp=tcp))
        command = [rsyslogd, "-n", "-f", str(config), "-i", str(tmp_path / "rsyslog.pid")]
        with (tmp_path / "rsyslog.out").open("wb") as out:
            started.append(subprocess.Popen(command, stdout=out, stderr=out))
        return tmp_path / "log"

    yield begin
    for process in started:
        process.terminate()
        process.wait(60)


def test_rsyslog_forwards_by_tcp_and_udp(start: Callable[..., Any], rsyslog: Any, wait_until: Any) -> None:
    daemon = start(CONFIG)
    path = rsyslog(daemon)
    wait_until(path.exists, "the socket of rsyslogd")
    said = [f"message {n}: é" for n in range(50)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
        local.settimeout(60)
        wait_until(lambda: local.connect_ex(str(path)) == 0, "rsyslogd reads its socket")
        for text in said:
            local.send(f"<86>Oct 11 22:14:15 app[7]: {text}".encode())
    # The template of RFC 5424 writes the blank that rsyslog keeps before the text of a local message.
    ours = " FROM syslog WHERE trim(message) LIKE 'message %'"
    count = f"SELECT count(*){ours}"
    wait_until(lambda: daemon.query(count) == [(150,)], "three times each message")
    daemon.stop()
    grouped = "SELECT source, count(*), facility, severity, appname, procid, timestamp IS NOT NULL"
    assert daemon.query(f"{grouped}{ours} GROUP BY 1, 3, 4, 5, 6, 7 ORDER BY 1") == [
        (source, n, 10, 6, "app", "7", 1) for source, n in (("floor", 100), ("lab", 50))
    ]
    assert {text for (text,) in daemon.query(f"SELECT trim(message){ours}")} == set(said)


def test_rfc_5425_over_tls_and_messages_of_several_lines(
    start: Callable[..., Any], new_authority: Any, tmp_path: Path
) -> None:
    authority = new_authority(tmp_path)
    authority.issue("server")
    daemon = start(CONFIG.replace('["lab", "floor"]', '["lab", "floor", "secure"]') + SECURE)
    messages = [
        "<34>1 2003-10-11T22:14:15.003Z h a - - - \ufeffone\ntwo\0three",
        '<34>1 - h - - - [a b="c"] é',
    ]
    context = ssl.create_default_context(cafile=authority.ca)
    with (
        socket.create_connection(daemon.address("secure"), timeout=60) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as secured,
    ):
        for message in messages * 10:
            frame = message.encode()
            secured.sendall(b"%d %b" % (len(frame), frame))
        secured.unwrap()
    daemon.udp(*(message.encode() for message in messages))  # RFC 5426: a datagram is a message
    daemon.wait_rows(22, "syslog")
    daemon.stop()
    rows = daemon.query(
        "SELECT source, message, structured_data, count(*) FROM syslog GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert rows == [
        (source, message, data, n)
        for source, n in (("lab", 1), ("secure", 10))
        for message, data in (("one\ntwo\0three", None), ("é", '{"a":{"b":"c"}}'))
    ]
