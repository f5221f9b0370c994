"""Streams that the commands gzip and zstd compress, and a daemon that sends on to a unix socket."""

import gzip
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "text"
decompress = "gzip"
[sources.local]
type = "unix"
path = "in.sock"
codec = "text"
decompress = "zstd"
[pipelines.main]
sources = ["floor", "local"]
sinks = ["records", "other"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
[sinks.other]
type = "unix"
path = "out.sock"
mode = "datagram"
pack = true
encoder = "text"
"""
LINES = 3000


def test_what_commands_compress_is_stored_and_sent_on(
    start: Callable[..., Any], wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "var").mkdir()
    log = tmp_path / "app.log"
    log.write_text("".join(f"line {number} of a log\n" for number in range(LINES)))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "var" / "out.sock"))
        receiver.settimeout(30)
        daemon = start(CONFIG)
        host, port = daemon.address("floor")
        send = f"(gzip -c {log}; gzip -9c {log}) > /dev/tcp/{host}/{port}"
        subprocess.run(["bash", "-c", send], check=True, timeout=60)
        count = 2 * LINES
        if (zstd := shutil.which("zstd")) is not None:
            packed = subprocess.run([zstd, "-c", log], check=True, timeout=60, capture_output=True).stdout
            with socket.socket(socket.AF_UNIX) as sender:
                sender.connect(str(tmp_path / "var" / "in.sock"))
                sender.sendall(packed)
            count += LINES
        got: list[bytes] = []
        while len(got) < count:
            got += receiver.recv(1 << 20).splitlines()
        daemon.tcp(gzip.compress(b"whole\n") + gzip.compress(log.read_bytes())[:-9])
        wait_until(lambda: daemon.events("framing_error"), "the stream that was cut off")
        got += receiver.recv(1 << 20).splitlines()
        daemon.stop()
    assert sorted(got[:count]) == sorted(log.read_bytes().splitlines() * (count // LINES))
    assert got[count] == b"whole"
    assert daemon.query("SELECT count(*) FROM records WHERE record ->> 'message' = 'whole'") == [(1,)]
    assert daemon.query("SELECT count(DISTINCT record ->> 'message') FROM records")[0][0] >= LINES
    assert daemon.reasons("framing_errors", "floor") == {"compressed:incomplete": 1}
