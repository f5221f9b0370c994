"""`streamd reload` after a change of the user's decoder: its module, or a module that it imports."""

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[sources.lab]
type = "tcp"
listen = "127.0.0.1:0"
codec = { type = "python", function = "decoder.py:decode", params = { site = "ber" } }
[pipelines.main]
sources = ["lab"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
"""
DECODER = """
from units import kelvin

def decode(payload, site):
    return {"site": site, "version": VERSION, "kelvin": kelvin(float(payload))}
"""
UNITS = "def kelvin(celsius):\n    return celsius + OFFSET\n"


def reload(daemon: Any) -> tuple[int, str]:
    command = [sys.executable, "-m", "streamd", "reload", "--config", str(daemon.config)]
    done = subprocess.run(
        command, cwd=daemon.folder, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_next_frame_of_an_open_connection_is_decoded_by_the_new_code(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    decoder, units = tmp_path / "decoder.py", tmp_path / "units.py"
    decoder.write_text(DECODER.replace("VERSION", "1"))
    units.write_text(UNITS.replace("OFFSET", "273"))
    daemon = start(CONFIG)
    with socket.create_connection(daemon.address("lab"), timeout=60) as sock:
        sock.sendall(b"1\n")
        daemon.wait_rows(1)
        units.write_text(UNITS.replace("OFFSET", "273.15"))
        code, said = reload(daemon)
        assert code == 0, said
        sock.sendall(b"2\n")
        daemon.wait_rows(2)
        decoder.write_text(DECODER.replace("VERSION", "2"))
        code, said = reload(daemon)
        assert code == 0, said
        sock.sendall(b"3\n")
        daemon.wait_rows(3)
        units.write_text("def celsius(kelvin):\n    return kelvin\n")
        code, said = reload(daemon)
        assert (code, "units" in said, "Traceback" in said) == (2, True, False), said
        sock.sendall(b"4\n")
        daemon.wait_rows(4)
    daemon.stop()
    rows = daemon.query(
        "SELECT record ->> 'version', record ->> 'kelvin', record ->> 'site' FROM records ORDER BY id"
    )
    assert rows == [(1, 274.0, "ber"), (1, 275.15, "ber"), (2, 276.15, "ber"), (2, 277.15, "ber")]
    (connections,) = daemon.reasons("connections", "lab").values()
    assert connections == 1
