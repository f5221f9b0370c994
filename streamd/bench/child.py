"""Child processes whose CPU time and memory are measured from outside, and which always end."""

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from streamd.bench.row import BenchError

_CPUCLOCK_SCHED = 2
_END_S = 10.0


def cpu_s(pid: int) -> float:
    """User and system time of all threads of a process so far, including ended ones, to the nanosecond.

    This is the clock of `clock_getcpuclockid(3)`, which for the current process is `time.process_time`.
    """
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)


def family_cpu_s(pid: int) -> float:
    """The time of a process and of the processes that it has started and that still run, also indirectly."""
    started: list[str] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the thread has ended
            started += (thread / "children").read_text().split()
    return cpu_s(pid) + sum(family_cpu_s(int(number)) for number in started)


def thread_cpu_s(pid: int) -> float:
    """User and system time of the first thread of a process so far. In a daemon it runs the event loop."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def memory_bytes(pid: int, field: str) -> int:
    """`VmRSS` (resident memory now) or `VmHWM` (its peak so far) of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise BenchError(f"the kernel does not report {field} of process {pid}")


def free_port() -> int:
    """A port of 127.0.0.1 that was free for TCP and UDP at the time of the call."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Different ports as `free_port`."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        for _ in range(100 * count):
            tcp = held.enter_context(socket.create_server(("127.0.0.1", 0)))
            udp = held.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            port = int(tcp.getsockname()[1])
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                return ports
    raise BenchError("no port is free for TCP and UDP")


class Child:
    """A child process `python -m …`. Leaving the context always ends it.

    It has its own session, so that Ctrl-C on the terminal reaches only the benchmark, which ends its children
    in order. Output goes to files in `folder`, so that no pipe can fill up.
    """

    program: Sequence[str] = (sys.executable, "-m")
    """What is started with the arguments."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._out, self._err = folder / f"{id(self)}.out", folder / f"{id(self)}.err"
        self.started_mono_s = time.monotonic()
        with self._out.open("wb") as out, self._err.open("wb") as err, _interruption_ends(self):
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*self.program, *arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder, start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_END_S)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def out(self) -> str:
        """The text on standard output so far."""
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        """The text on standard error so far."""
        return self._err.read_text(errors="replace")

    def running(self) -> bool:
        """Whether the process still runs. Raises `BenchError` if it ended with an error."""
        code = self.process.poll()
        if code:
            raise self.failure(f"ended with exit code {code}")
        return code is None

    def wait(self, timeout_s: float) -> None:
        """Wait for the end of the process. Raises `BenchError` after `timeout_s` or an error."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise self.failure(f"did not end within {timeout_s:.0f} s") from None
        self.running()

    def failure(self, event: str) -> BenchError:
        """An error with the command, the `event` and the end of its standard error."""
        command = " ".join(str(part) for part in self.process.args[2:5])  # type: ignore[index]  # a list, as given above
        return BenchError(f"{command} {event}\n{self.err[-2000:]}")


@contextlib.contextmanager
def _interruption_ends(child: Child) -> Iterator[None]:
    """Delay SIGINT and SIGTERM while the process is created, so that it is never left running.

    The signals are raised again when the process can be ended.
    """
    caught: list[int] = []
    before = {
        which: signal.signal(which, lambda number, _: caught.append(number))
        for which in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for which, action in before.items():
            signal.signal(which, action)
    try:
        for number in caught:
            signal.raise_signal(number)
    except BaseException:
        child.__exit__()
        raise
