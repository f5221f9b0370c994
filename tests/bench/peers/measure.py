"""One run of one system: started, sent to, and timed until every record is in its output.

Wall-clock time goes from the first byte sent to the last write into the output, when every record is there.
CPU is what all processes of the system used in that time, user and system. A run in which a record is missing
has no figure.
"""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.bench.peers.blaster import Blaster, is_bound
from tests.bench.peers.systems import LIBRARIES, System, filled

_START_S = 60.0
_QUIET_S = 0.3
"""An output that was not written to for so long is looked into."""
_STUCK_S = 15.0
"""So long without a write, and a run is given up."""
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Figure:
    """One run: records a second of wall-clock time, and CPU seconds a million records."""

    rate: float
    cpu_s_per_m: float


class FailedRun(Exception):  # noqa: N818 - a run that failed
    """A run that gave no figure, with the reason."""


def measure(system: System, lines: list[bytes], peers: Path) -> Figure:
    """Start the system, send all lines, wait until all are in its output. Raises `FailedRun`."""
    with tempfile.TemporaryDirectory(prefix="streamd-peers-") as name:
        folder = Path(name)
        port = _free_port(system)
        process = _start(system, folder, peers, port)
        try:
            _wait_until_it_listens(system, port, process, folder)
            before_s = _cpu_s(process.pid)
            blaster = Blaster(lines, port)
            began_s = blaster.udp() if system.udp else blaster.tcp()
            ended_s = _wait_for(system, len(lines), folder, process)
            used_s = _cpu_s(process.pid) - before_s
        finally:
            _end(process)
    return Figure(len(lines) / (ended_s - began_s), used_s / len(lines) * 1e6)


def _free_port(system: System) -> int:
    kind = socket.SOCK_DGRAM if system.udp else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _start(system: System, folder: Path, peers: Path, port: int) -> subprocess.Popen[bytes]:
    config = folder / system.config
    config.write_text(filled(system, folder, port))
    if system.config == "syslog-ng-sqlite.conf":
        _make_table(folder / "out.db")
        (folder / "dbd").symlink_to(next((peers / "root").glob("usr/lib/*/dbd")))
    places = {
        "python": sys.executable, "peers": peers, "root": peers / "root", "folder": folder, "config": config,
    }  # fmt: skip
    command = [word.format(**places) for word in system.command]
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if system.source == "debian":
        environ["LD_LIBRARY_PATH"] = ":".join(str(peers / "root" / place) for place in LIBRARIES)
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def _make_table(path: Path) -> None:
    columns = "at text, host text, app text, pid text, msgid text, pri integer, message text"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE messages ({columns})")


def _wait_until_it_listens(system: System, port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s:
        if process.poll() is not None:
            break
        if system.udp and is_bound(port):
            return
        if not system.udp:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        time.sleep(0.02)
    raise FailedRun(f"it did not start: {(folder / 'log').read_text(errors='replace')[-600:]}")


def _wait_for(system: System, count: int, folder: Path, process: subprocess.Popen[bytes]) -> float:
    """The monotonic time of the last write, once all records are there."""
    clock_apart_s = time.time() - time.monotonic()
    while process.poll() is None:
        last_s = max((path.stat().st_mtime for path in _outputs(folder)), default=time.time()) - clock_apart_s
        silent_s = time.monotonic() - last_s
        if silent_s >= _QUIET_S:
            found = _rows(folder, system.table) if system.table else _lines(folder)
            if found >= count:
                if found > count:
                    raise FailedRun(f"{found:,} of {count:,} records")
                return last_s
            if silent_s > _STUCK_S:
                raise FailedRun(f"only {found:,} of {count:,} records came out")
        time.sleep(0.05)
    raise FailedRun(f"it ended: {(folder / 'log').read_text(errors='replace')[-600:]}")


def _outputs(folder: Path) -> list[Path]:
    return [
        path for path in folder.glob("out*") if path.suffix != ".db-shm" and not path.name.endswith("-shm")
    ]


def _lines(folder: Path) -> int:
    total = 0
    with suppress(FileNotFoundError), (folder / "out.txt").open("rb") as file:
        while block := file.read(1 << 20):
            total += block.count(b"\n")
    return total


def _rows(folder: Path, table: str) -> int:
    total = 0
    for path in folder.glob("out*.db"):
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection,
        ):
            (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - our own
            total += rows
    return total


def _cpu_s(pid: int) -> float:
    """User and system time of a process and all below it, those that have ended too."""
    children: dict[int, list[int]] = defaultdict(list)
    used: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            number = int(path.parent.name)
            children[int(fields[1])].append(number)
            used[number] = sum(map(int, fields[11:15])) * _TICK_S
    total, waiting = 0.0, [pid]
    while waiting:
        number = waiting.pop()
        total += used.get(number, 0.0)
        waiting += children[number]
    return total


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and what it has started: the session is its own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return
