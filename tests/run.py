"""Runs the tests in many parts, a few of them at the same time, so that no processor waits for a long part.

Tests wait for processes and clocks a third of their time, so two parts more run than there are processors.
As root each part has a network namespace of its own, so that no part takes a port that a test of another one
has just found free.
`python -m pytest` runs the same tests in one process.
"""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

_NOTHING_SELECTED = 5  # an exit code of pytest
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_ALONE = ("unshare", "--net", "--")


def _shared_out(paths: Iterable[Path], parts: int) -> list[list[str]]:
    """The files in parts that take about the same time, for which the sizes of the files stand."""
    made: list[list[str]] = [[] for _ in range(parts)]
    sizes = [0] * parts
    for path in sorted(paths, key=lambda path: (-path.stat().st_size, path)):
        least = sizes.index(min(sizes))
        made[least].append(str(path))
        sizes[least] += path.stat().st_size
    return made


def _parts() -> list[list[str]]:
    tests = set(Path("tests").rglob("test_*.py"))
    with_daemons = {path for path in tests if path.parts[1] in ("e2e", "systemd")}
    pairs = zip(_shared_out(with_daemons, 8), _shared_out(tests - with_daemons, 8), strict=True)
    return [part for pair in pairs for part in pair]


def main(arguments: Sequence[str]) -> int:
    """Run all parts and show the output of each when it ends, failed ones last. Returns 0 if all pass."""
    pytest = _pytest(_ALONE if _may_be_alone() else ())
    failed: list[bytes] = []
    codes: set[int] = set()
    with ThreadPoolExecutor((os.cpu_count() or 1) + 2) as pool:
        runs = [pool.submit(_run, [*pytest, *part, *arguments]) for part in _parts()]
        for run in (ended.result() for ended in as_completed(runs)):
            codes.add(run.returncode)
            if run.returncode in (0, _NOTHING_SELECTED):
                _show(run.stdout)
            else:
                failed.append(run.stdout)
    for output in failed:
        _show(output)
    if codes != {_NOTHING_SELECTED}:
        codes.discard(_NOTHING_SELECTED)
    return max(codes, key=abs)


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _show(output: bytes) -> None:
    sys.stdout.buffer.write(output)
    sys.stdout.flush()


def _pytest(apart: Sequence[str]) -> list[str]:
    if not apart:
        return [sys.executable, "-m", "pytest"]
    return [*apart, sys.executable, __file__, "--alone", "-m", "pytest"]


def _may_be_alone() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run([*_ALONE, "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0


def _use_loopback() -> None:
    """In a new network namespace `lo` is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh", b"lo", 0).ljust(40, b"\0")
        (flags,) = struct.unpack_from("h", fcntl.ioctl(sock, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | _IFF_UP).ljust(40, b"\0"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        _use_loopback()
        os.execv(sys.executable, [sys.executable, *sys.argv[2:]])  # noqa: S606 - no shell is needed
    sys.exit(main(sys.argv[1:]))
