"""Runs the tests in two halves beside each other, which takes about two thirds of the time of one run.

One half has the tests that start daemons (`e2e`, `systemd`), which mostly wait; the other half has the rest.
As root each half has a network namespace of its own, so that neither takes a port that a test of the other
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

DAEMONS = ("tests/e2e", "tests/systemd")
REST = ("tests", *(f"--ignore={folder}" for folder in DAEMONS))
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_ALONE = ("unshare", "--net", "--")


def main(arguments: Sequence[str]) -> int:
    """Run both halves. Returns 0 if both pass, else the exit code of one that does not."""
    apart = _ALONE if _may_be_alone() else ()
    with tempfile.TemporaryFile() as said:
        rest = subprocess.Popen([*_half(apart), *REST, *arguments], stdout=said, stderr=subprocess.STDOUT)
        try:
            daemons = subprocess.run([*_half(apart), *DAEMONS, *arguments], check=False).returncode
        finally:
            code = rest.wait()
            said.seek(0)
            sys.stdout.flush()
            shutil.copyfileobj(said, sys.stdout.buffer)
            sys.stdout.flush()
    return daemons or code


def _half(apart: Sequence[str]) -> list[str]:
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
