"""Numbers that outlive the process that wrote them."""

import os
import subprocess
import sys

import pytest

from streamd.processes import shared_numbers
from streamd.processes.shared_numbers import SharedNumbers

PROGRAM = """
import os, sys
from streamd.processes.shared_numbers import SharedNumbers
its = SharedNumbers(int(sys.argv[1]))
its.cells[its.place("frames", "floor", "received")] = 2**62
its.cells[its.place('odd " \\n name', "\\ud800")] = -1
os.kill(os.getpid(), 9)
"""


def test_another_process_reads_what_a_killed_one_has_written() -> None:
    numbers = SharedNumbers()
    command = [sys.executable, "-c", PROGRAM, str(numbers.fd)]
    assert subprocess.run(command, pass_fds=[numbers.fd], check=False).returncode == -9
    assert list(numbers.items()) == [
        (("frames", "floor", "received"), 2**62),
        (('odd " \n name', "\ud800"), -1),
    ]
    assert numbers.are_all
    numbers.close()


def test_a_number_without_room_is_none_and_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_numbers, "CELLS", 2)
    numbers = SharedNumbers()
    assert [numbers.place(name) for name in "abc"] == [2, 3, None]
    assert not numbers.are_all
    assert [name for name, _ in numbers.items()] == [("a",), ("b",)]
    numbers.close()


def test_a_name_without_room_is_none_too() -> None:
    numbers = SharedNumbers()
    assert numbers.place("x" * 2**20) is None
    assert not numbers.are_all
    numbers.close()


def test_the_descriptor_is_closed_with_the_memory() -> None:
    numbers = SharedNumbers()
    assert not os.get_inheritable(numbers.fd)
    numbers.close()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(numbers.fd)
