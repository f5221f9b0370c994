"""Runs the tests in three parts at the same time.

Two parts have the tests that start daemons (`e2e`, `systemd`), which mostly wait; the third has the rest.
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
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

_E2E = [str(path) for path in sorted(Path("tests/e2e").glob("test_*.py"))]
PARTS = (
    ("tests/systemd", *_E2E[::2]),
    tuple(_E2E[1::2]),
    ("tests", "--ignore=tests/e2e", "--ignore=tests/systemd"),
)
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_ALONE = ("unshare", "--net", "--")


def main(arguments: Sequence[str]) -> int:
    """Run all parts and show the output of one after the other. Returns 0 if all pass, else an exit code."""
    apart = _ALONE if _may_be_alone() else ()
    with ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in PARTS[1:]]
        others = [
            stack.enter_context(
                subprocess.Popen([*_pytest(apart), *part, *arguments], stdout=said, stderr=subprocess.STDOUT)
            )
            for part, said in zip(PARTS[1:], outputs, strict=True)
        ]
        codes = [subprocess.run([*_pytest(apart), *PARTS[0], *arguments], check=False).returncode]
        for other, said in zip(others, outputs, strict=True):
            codes.append(other.wait())
            said.seek(0)
            sys.stdout.flush()
            shutil.copyfileobj(said, sys.stdout.buffer)
            sys.stdout.flush()
    return max(codes, key=abs)


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
