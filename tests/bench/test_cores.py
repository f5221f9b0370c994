"""The scenario with two processes runs, and its CPU time is that of all of them."""

import subprocess
import sys
from pathlib import Path

from streamd.bench import cores
from streamd.bench.child import cpu_s, family_cpu_s
from streamd.bench.plan import Plan

_WORKS = """
import time
while time.process_time() < 0.2:
    pass
print("worked", flush=True)
input()
"""
_STARTS = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {_WORKS!r}])
"""


def test_the_time_of_a_process_that_was_started_counts() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _STARTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"worked\n"
        assert family_cpu_s(starter.pid) - cpu_s(starter.pid) >= 0.2
        starter.communicate(b"\n")


def test_two_processes_store_every_record(tmp_path: Path) -> None:
    (row,) = cores.measure(Plan.quick(lambda _: None, tmp_path))
    assert row.value > 0
    assert row.baseline is not None
    assert row.reached is None
    assert "CPU s/M in all processes" in row.note
