import os
import subprocess
import sys

import pytest

SAY = "import os, sys; from streamd.core.printing import flush_each_line; {}; print('one'); os._exit(0)"


def said(call: str) -> "subprocess.CompletedProcess[bytes]":
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run([sys.executable, "-c", SAY.format(call)], capture_output=True, check=True, env=env)


@pytest.mark.parametrize(("call", "seen"), [("flush_each_line()", b"one\n"), ("pass", b"")])
def test_a_line_is_out_before_the_process_ends(call: str, seen: bytes) -> None:
    assert said(call).stdout == seen


def test_an_output_of_another_kind_is_left_alone() -> None:
    assert said("sys.stdout = None; flush_each_line(); sys.stdout = sys.__stdout__").stderr == b""
