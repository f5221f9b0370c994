"""A statement that is not streamd's own, run in a process of its own, which can be ended at any time.

Within this process SQLite could not be stopped in a function of a long text, which may take minutes, and
could use all memory.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from streamd.admin.bounded_reading import GONE, LIMIT_S, TOO_LONG, OwnQuery
from streamd.admin.own_reads import READS, OthersSql
from streamd.admin.statement_process import ExitCode
from streamd.core.clock import read_clock
from streamd.core.errors import EnvironmentFault
from streamd.sqlite.attached import open_schemas
from streamd.sqlite.read_only import QueryRefused

MOST_MEMORY_BYTES = 256 << 20
"""The most memory of a statement. What it sorts is in memory too, so that it fills no disk."""

_START = "import sys; sys.path[:] = {path!r}; from streamd.admin.statement_process import main; main()"


class Statement:
    """One read in a process of its own. It ends after `LIMIT_S`.

    `files` are the databases by schema, with `main` first. `asked` is the `sql` of a user with the most rows
    (`limit`), or one of `READS` (`read`) with its `argument`.
    """

    def __init__(self, files: Mapping[str, Path], **asked: str | int) -> None:
        self._asked = {
            "files": {name: os.fspath(path) for name, path in files.items()},
            "limit_s": LIMIT_S, "memory_bytes": MOST_MEMORY_BYTES, **asked,
        }  # fmt: skip
        self._limit_s = LIMIT_S
        self._end_mono_s = read_clock().mono_s + LIMIT_S
        self._process: subprocess.Popen[bytes] | None = None
        self._given_up = False

    def run(self) -> bytes:
        """The columns and rows as JSON. Raises `QueryRefused` and `EnvironmentFault`."""
        process = self._started()
        try:
            output, _ = process.communicate(
                json.dumps(self._asked).encode(), timeout=max(0.0, self._end_mono_s - read_clock().mono_s)
            )
        except subprocess.TimeoutExpired:
            raise QueryRefused(TOO_LONG.format(self._limit_s)) from None
        finally:
            process.kill()
            process.wait()
            _close(process)
        if process.returncode == ExitCode.ROWS:
            return output
        if self._given_up:
            raise QueryRefused(GONE)
        if process.returncode == -signal.SIGALRM:
            raise QueryRefused(TOO_LONG.format(self._limit_s))
        if process.returncode == ExitCode.REFUSED:
            raise QueryRefused(output.decode(errors="replace"))
        if process.returncode == ExitCode.FAULT:
            raise EnvironmentFault(output.decode(errors="replace"))
        raise EnvironmentFault(f"the process of the statement ended with code {process.returncode}")

    def give_up(self) -> None:
        """End the process."""
        self._given_up = True
        if self._process is not None:
            self._process.kill()

    def _started(self) -> subprocess.Popen[bytes]:
        # Not by the event loop: to fork a large daemon takes tens of milliseconds, and this does not fork.
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-c", _START.format(path=sys.path)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the daemon
            )  # fmt: skip
        except OSError as error:
            raise EnvironmentFault(f"no process for the statement can be started: {error.strerror}") from None
        if self._given_up:  # since before there was a process to kill
            self._process.kill()
        return self._process


class OwnStatement:
    """One of `READS`: within this process, or in one of its own if it needs SQL that is not streamd's."""

    def __init__(self, files: Mapping[str, Path], read: str, argument: str) -> None:
        function = READS[read]
        self._here = OwnQuery(
            lambda: open_schemas(files).connection, lambda c: function(c, argument, only_own=True)
        )
        self._elsewhere = Statement(files, read=read, argument=argument)

    def run(self) -> bytes:
        """The answer as JSON. Raises as `Statement` does."""
        try:
            return self._here.run()
        except OthersSql:
            return self._elsewhere.run()

    def give_up(self) -> None:
        """End soon."""
        self._here.give_up()
        self._elsewhere.give_up()


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
