"""The examples of the help do what they show, in the order in which a newcomer would try them."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamd.cli._examples import EXAMPLES
from streamd.plant import Plant

CONFIG = """
[sources.datagrams]
type = "udp"
listen = "127.0.0.1:0"
[sources.lines]
type = "tcp"
listen = "127.0.0.1:0"
[sources.desk]
type = "unix"
path = "lab.sock"
mode = "datagram"
[sources.strict]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
schema = "reading"
[schemas.reading]
sensor = "str"
value = "float"
[pipelines.main]
sources = ["datagrams", "lines", "desk"]
sinks = ["records"]
[pipelines.readings]
sources = ["strict"]
sinks = ["readings"]
[sinks.records]
type = "sqlite"
[sinks.readings]
type = "sqlite"
table = "readings"
schema = "reading"
[[tests]]
name = "a gap"
inputs = [{ source = "strict", text = '{"sensor": "s", "value": 1}' }]
expect = { sinks = { readings = { rows = [{ sensor = "s", value = 1.0 }] } } }
"""
NOT_EXECUTED = ("run", "bench", "capacity", "tap", "install-service", "uninstall-service")
"""The daemon is one already, the benchmark is slow and has its own test, the capacity needs a load, a tap
needs passing records, and the units need root."""


def executed(daemon: Any, line: str) -> subprocess.CompletedProcess[str]:
    """The line in a shell beside the daemon, with its addresses and files for the usual ones."""
    protocol = "datagrams" if "udp:" in line else "lines"
    line = line.replace("127.0.0.1:9999", "{}:{}".format(*daemon.address(protocol)))
    line = line.replace("/etc/streamd/streamd.toml", "streamd.toml")
    line = line.replace("config/streamd.toml", "streamd.toml").replace("/run/lab.sock", "$PWD/var/lab.sock")
    line = line.replace("journalctl -u streamd -o cat -f", f"cat {daemon.log_path}").replace(" -f ", " ")
    line = line.replace("| jq .sources", "| cat").replace("--count 100000", "--count 1000")
    line = line.replace(" --watch", "")  # it goes on until the daemon ends
    environ = {**os.environ, "PATH": f"{daemon.folder}/bin:{os.environ['PATH']}"}
    return subprocess.run(
        ["sh", "-c", line], cwd=daemon.folder, env=environ, check=False, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip


def test_the_examples_of_the_help_can_be_typed_beside_a_daemon(start: Any, tmp_path: Path) -> None:
    daemon = start(CONFIG)
    (tmp_path / "bin").mkdir()
    shim = tmp_path / "bin" / "streamd"
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m streamd "$@"\n')
    shim.chmod(0o755)
    (tmp_path / "sample.txt").write_text('{"a": 1}\nplain\n')
    (tmp_path / "records.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    daemon.udp(b'{"sensor": "s", "value": 91.5}', b'{"sensor": "s", "value": 1}', source="strict")
    daemon.udp(*[b'{"sensor": '] * 81, source="strict")
    daemon.wait_rows(2, "readings")
    daemon.wait_rows(81, "dead_letters", "dead-letters.db")

    said = {}
    for name, lines in EXAMPLES.items():
        if name not in NOT_EXECUTED:
            for line in lines:
                done = executed(daemon, line)
                assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), (line, done)
                said[line] = done.stdout

    assert "91.5" in said["streamd tail readings -f --where 'value > 90'"]
    assert said["streamd tail readings -f --where 'value > 90'"].count("\n") == 1
    assert "json:syntax" in said["streamd dead-letters list --since 1h"]
    assert '{"sensor": ' in said["streamd dead-letters show 81"]
    assert json.loads(said["streamd status --json | jq .sources"])["sources"]
    generated = 1000 + len(Plant().lines(10**6))
    daemon.wait_rows(generated + 3 + 2)
    daemon.stop()
    books = daemon.books()
    assert books["datagrams", "main", "records", "stored"] == 3
    assert books["lines", "main", "records", "stored"] == generated
    assert books["desk", "main", "records", "stored"] == 2
    assert daemon.reasons("rejected", "strict")["json:syntax"] == 81


@pytest.mark.parametrize("name", NOT_EXECUTED)
def test_what_is_not_executed_is_a_command(name: str) -> None:
    assert EXAMPLES[name]
