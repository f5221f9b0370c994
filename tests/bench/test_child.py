import contextlib
import os
import time
from pathlib import Path

import pytest

from streamd.bench.child import Child, cpu_s, free_port, memory_bytes
from streamd.bench.row import BenchError

ENDLESS = ("http.server", "0", "--bind=127.0.0.1")


def test_cpu_of_our_own_process_is_what_python_says() -> None:
    before_s = time.process_time()
    measured_s = cpu_s(os.getpid())
    assert before_s <= measured_s <= time.process_time()


def test_memory_of_our_own_process() -> None:
    assert 2**20 < memory_bytes(os.getpid(), "VmRSS") <= memory_bytes(os.getpid(), "VmHWM")


def test_an_unknown_memory_field_is_an_error() -> None:
    with pytest.raises(BenchError, match="VmNothing"):
        memory_bytes(os.getpid(), "VmNothing")


def test_free_ports_can_be_bound() -> None:
    assert 1024 <= free_port() <= 65535


def test_leaving_the_context_ends_the_process_also_after_an_error(tmp_path: Path) -> None:
    child = Child(tmp_path, *ENDLESS)
    with contextlib.suppress(KeyboardInterrupt), child:
        assert child.running()
        raise KeyboardInterrupt
    assert child.process.poll() is not None


def test_a_bad_end_says_what_was_printed(tmp_path: Path) -> None:
    with (
        Child(tmp_path, "no_such_module") as child,
        pytest.raises(BenchError, match=r"exit code 1(.|\n)*No module named no_such_module"),
    ):
        child.wait(30)


def test_a_good_end_keeps_what_was_printed(tmp_path: Path) -> None:
    with Child(tmp_path, "streamd.bench.recvmmsg", "0") as child:
        child.wait(30)
        assert not child.running()
        assert '"counted": 0' in child.out


def test_one_that_does_not_end_is_an_error(tmp_path: Path) -> None:
    with Child(tmp_path, *ENDLESS) as child, pytest.raises(BenchError, match="did not end"):
        child.wait(0.01)
