"""A real systemd in namespaces of its own, with streamd installed in it as `make install` would."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import streamd
from tests.ends_with_us import ends_with_us

HERE = Path(__file__).parent
DEADLINE_S = 60.0
VENV = Path("/opt/streamd")
PYTHON = Path("/opt/python")
PACKAGES = Path("/opt/packages")
STREAMD = (str(VENV / "bin/python3"), "-m", "streamd")
LIBRARY = (
    {"LD_LIBRARY_PATH": f"{PYTHON}/lib"} if list(Path(sys.base_prefix, "lib").glob("libpython*.so*")) else {}
)
"""A Python with a shared library looks for it where it was made, which the sandbox may hide."""
UNITS = ("streamd.socket", "streamd.service")


def until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Poll until it is so; fail, saying what was awaited, when it never is."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"still waiting for {what} after {deadline_s} s")


class Machine:
    """A booted system; commands run in all its namespaces, as root."""

    def __init__(self, init_pid: int) -> None:
        self.init_pid = init_pid

    def command(self, *words: str) -> list[str]:
        """The command as it is run from outside."""
        return ["nsenter", "-t", str(self.init_pid), "-m", "-u", "-i", "-n", "-p", "-C", "--", *words]

    def run(self, *words: str, check: bool = True, text: str | None = None) -> str:
        """Run a command; what it said on standard output and error."""
        environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", **LIBRARY}
        done = subprocess.run(
            self.command(*words),
            input=text,
            env=environ,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0 or not check, (words, done.returncode, done.stdout)
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file there."""
        self.run("mkdir", "-p", str(Path(path).parent))
        self.run("tee", path, text=text)

    def python(self, code: str, *arguments: str, check: bool = True) -> str:
        """Run Python there, outside the sandbox."""
        return self.run(str(VENV / "bin/python3"), "-c", code, *arguments, check=check)

    def show(self, name: str, unit: str = "streamd.service") -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()


class Service:
    """streamd on that machine, freshly installed: no data, not started, nothing changed by hand."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.run("systemctl", "stop", *UNITS, check=False)
        units = "/etc/systemd/system"
        machine.run("sh", "-c", f"rm -rf {units}/streamd.* {units}/*/streamd.* /etc/streamd /var/lib/streamd")
        found = re.search(r"cursor: (\S+)", machine.run("journalctl", "-n", "0", "--show-cursor"))
        self._cursor = found[1] if found else ""

    def install(self, config: str | None = None) -> None:
        """Run `install-service`, and what it says to run next but for the start."""
        if config is not None:
            self.machine.write("/etc/streamd/streamd.toml", config)
        self.machine.run(*STREAMD, "install-service")
        self.machine.run("systemd-sysusers")
        self.load_units()

    def drop_in(self, text: str) -> None:
        """What an administrator changes of the service."""
        self.machine.write("/etc/systemd/system/streamd.service.d/mine.conf", f"[Service]\n{text}\n")
        self.load_units()

    def load_units(self) -> None:
        """Have systemd read its files."""
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "reset-failed", *UNITS, check=False)

    def start(self) -> None:
        """Start the sockets and the service; it is ready when this returns."""
        self.machine.run("systemctl", "start", *UNITS)

    def stop(self) -> float:
        """Stop both; how many seconds it took."""
        began_s = time.monotonic()
        self.machine.run("systemctl", "stop", *UNITS)
        return time.monotonic() - began_s

    def show(self, name: str) -> str:
        """One property of the service."""
        return self.machine.show(name)

    @property
    def pid(self) -> int:
        """The daemon's process, as that system numbers it; 0 where there is none."""
        return int(self.show("MainPID"))

    def kill(self, name: str) -> None:
        """Send a signal to the daemon."""
        self.machine.run("kill", f"-{name}", str(self.pid))

    def await_new(self, pid: int) -> None:
        """Wait until another process than `pid` is ready."""
        self.until(lambda: self.show("ActiveState") == "active" and self.pid not in (0, pid), "a restart")

    def until(self, condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> None:
        """Wait until it is so; what the service logged is told where it never is."""
        try:
            until(condition, what, deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    def log(self) -> str:
        """What systemd and the service logged since it was installed, as lines."""
        return "\n".join(str(entry["MESSAGE"]) for entry in self.journal())

    def journal(self) -> list[dict[str, Any]]:
        """The same with all fields."""
        since = ("-u", "streamd", "--after-cursor", self._cursor)
        lines = self.machine.run("journalctl", *since, "-o", "json", "--no-pager").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def send(self, protocol: str, port: int, *payloads: str) -> None:
        """Send datagrams, or lines on one connection."""
        self.machine.python(_SEND, protocol, str(port), *payloads)

    def rows(self, sql: str) -> list[list[Any]]:
        """What is stored, read as root."""
        text = self.machine.python(_QUERY, sql, check=False)
        rows: list[list[Any]] = json.loads(text) if text.startswith("[") else []
        return rows

    def await_rows(self, count: int, where: str = "1") -> None:
        """Wait until so many records are stored."""
        sql = f"SELECT count(*) FROM records WHERE {where}"  # noqa: S608 - a test's own words
        self.until(lambda: self.rows(sql) == [[count]], f"{count} rows where {where}")


_SEND = """
import socket, sys
kind = socket.SOCK_DGRAM if sys.argv[1] == "udp" else socket.SOCK_STREAM
with socket.socket(socket.AF_INET, kind) as sock:
    sock.connect(("127.0.0.1", int(sys.argv[2])))
    for payload in sys.argv[3:]:
        sock.sendall(payload.encode() + b"\\n" * (kind == socket.SOCK_STREAM))
"""
_QUERY = """
import json, sqlite3, sys
with sqlite3.connect("file:/var/lib/streamd/streamd.db?mode=ro", uri=True) as db:
    print(json.dumps(db.execute(sys.argv[1]).fetchall()))
"""


def why_not() -> str | None:
    """Why this machine cannot boot a systemd in namespaces; None where it can."""
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("unshare", "nsenter", "systemd-run", "setpriv"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if not Path("/lib/systemd/systemd").exists():
        return "systemd is not installed"
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False).returncode:
        return "may not make namespaces"
    if not any("cgroup2" in line.split() for line in Path("/proc/mounts").read_text().splitlines()):
        return "has no cgroup2 mount"
    return None


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Booted once; streamd is installed and not started."""
    if reason := why_not():
        pytest.skip(f"a real systemd: {reason}")
    folder = tmp_path_factory.mktemp("systemd")
    script = folder / "script"
    script.write_text("sleep infinity\n")
    version = sysconfig.get_python_version()
    binds = {
        sys.base_prefix: PYTHON,
        sysconfig.get_path("purelib"): PACKAGES,
        str(Path(streamd.__file__).parent): VENV / f"lib/python{version}/site-packages/streamd",
    }
    options = [word for source, at in binds.items() for word in ("--bind", f"{source}:{at}:ro")]
    told = folder / "told"
    with told.open("wb") as stderr:
        booting = subprocess.Popen(
            # Only a bound for a lost run: modules of other folders may run between those that use it.
            [HERE / "with-systemd", "--timeout", "7200", *options, script],
            stderr=stderr,
            stdout=stderr,
        )
    ends_with_us(booting.pid, signal.SIGTERM)
    try:
        until(lambda: "host pid" in told.read_text() or booting.poll() is not None, "the boot", 60.0)
        found = re.search(r"host pid (\d+)", told.read_text())
        if found is None:
            pytest.skip(f"a real systemd did not boot: {told.read_text()[-500:]}")
        made = Machine(int(found[1]))
        _install(made, version)
        yield made
    finally:
        booting.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            booting.wait(30)


@pytest.fixture
def service(machine: Machine) -> Service:
    """Nothing installed yet."""
    return Service(machine)


def _install(machine: Machine, version: str) -> None:
    """A virtual environment of the interpreter of the tests and its packages, where the sandbox sees them."""
    machine.run(str(PYTHON / f"bin/python{version}"), "-m", "venv", "--without-pip", str(VENV))
    machine.write(f"{VENV}/lib/python{version}/site-packages/packages.pth", f"{PACKAGES}\n")
    if list(
        Path(sys.base_prefix, "lib").glob("libpython*.so*")
    ):  # it looks for its library where it was made
        text = f"[Service]\nEnvironment=LD_LIBRARY_PATH={PYTHON}/lib\n"
        machine.write("/run/systemd/system/streamd.service.d/library.conf", text)
