"""A PostgreSQL server for one measurement, in a folder of its own, which always ends."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from streamd.bench.child import family_cpu_s, free_port
from streamd.bench.row import BenchError, SkippedError

_DEADLINE_S = 60.0
_USER = "postgres"


def binaries() -> Path | None:
    """The folder with the programs of the newest installed server; None if there is none."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parent.parent.name)
    )
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return None if initdb is None else Path(initdb).resolve().parent


@contextmanager
def postgresql_in(parent: Path, *settings: str) -> "Iterator[TemporaryPostgresql]":
    """A server that runs, in a new folder in `parent` that is deleted at the end."""
    folder = Path(tempfile.mkdtemp(prefix="streamd-bench-", dir=parent))
    try:
        with TemporaryPostgresql(folder, *settings) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class TemporaryPostgresql:
    """Listens on `port` of 127.0.0.1 and on a socket in `folder`; the user postgres needs no password.

    PostgreSQL refuses to run as root; the server then runs as the system's user postgres, who must be able to
    reach `folder`. Raises `SkippedError` if no server is installed or that user cannot enter the folder, and
    `BenchError` if it does not start.
    """

    def __init__(self, folder: Path, *settings: str) -> None:
        found = binaries()
        if found is None:
            raise SkippedError("PostgreSQL is not installed (Debian: apt install postgresql)")
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self.programs = found
        self._as_user = ["runuser", "-u", _USER, "--"] if os.getuid() == 0 else []
        if self._as_user:
            shutil.chown(folder, _USER)
            if subprocess.run([*self._as_user, "test", "-x", folder], check=False).returncode:  # noqa: S603
                raise SkippedError(f"the user {_USER} cannot enter {folder}: name another folder with --dir")
        self._run("initdb", "-D", self.data, "-A", "trust", "-U", _USER, "--no-sync", "--locale=C", "-E",
                  "UTF8")  # fmt: skip
        lines = [f"port = {self.port}", f"unix_socket_directories = '{folder}'", *settings]
        with self.data.joinpath("postgresql.auto.conf").open("a") as file:
            file.write("\n".join(lines) + "\n")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop("immediate")

    @property
    def socket(self) -> str:
        """The path of the server's unix socket."""
        return f"{self.folder}/.s.PGSQL.{self.port}"

    @property
    def cpu_s(self) -> float:
        """CPU seconds of the server and of its present sessions and workers so far."""
        return family_cpu_s(int(self.data.joinpath("postmaster.pid").read_text().split()[0]))

    def _run(self, program: str, *words: Any) -> None:
        done = subprocess.run(  # noqa: S603 - a program of the installed server
            [*self._as_user, str(self.programs / program), *map(str, words)],
            check=False,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_DEADLINE_S,
        )
        if done.returncode:
            raise BenchError(f"{program} failed: {done.stdout}")

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        # The log file takes the server's output; a pipe would keep `run` waiting for its end.
        self._run("pg_ctl", "-D", self.data, "-w", "-s", "-l", self.folder / "log", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: `fast` ends its clients, `immediate` is as a crash."""
        self._run("pg_ctl", "-D", self.data, "-w", "-s", "-m", mode, "stop")
