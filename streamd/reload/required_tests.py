"""Runs the tests of a configuration in another process, before a start or a reload that requires them."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.printable import printable

TIMEOUT_S = 120.0
"""Longest time of all tests together."""
_WRONG = 2
_SHOWN = 500
_NOT_PASSED_ON = frozenset({
    "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES",
})  # fmt: skip
"""Variables by which systemd addresses the daemon alone."""
_START = """
import sys
sys.path[:] = {path!r}
from streamd.cli import main
sys.exit(main(["test", "--json", "--config", {config!r}]))
"""


async def require_tests(config: Path, stopping: asyncio.Event | None = None) -> None:
    """Return if all tests of the configuration pass.

    Raises `ConfigError` if a test fails or is wrong or if there is none, and `EnvironmentFault` if the tests
    cannot be run, take too long, or if `stopping` is set meanwhile. The process has its own modules and its
    own clock, so the tests change nothing in this one.
    """
    environ = {key: value for key, value in os.environ.items() if key not in _NOT_PASSED_ON}
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _START.format(path=sys.path, config=str(config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environ,
        )
    except OSError as error:
        raise EnvironmentFault(f"the tests of {config} cannot be run: {error.strerror}") from error
    running = asyncio.ensure_future(process.communicate())
    stop = asyncio.ensure_future((stopping or asyncio.Event()).wait())
    try:
        await asyncio.wait({running, stop}, timeout=TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
        if not running.done():
            with suppress(ProcessLookupError):
                process.kill()
    report, errors = await running
    if process.returncode == 0:
        return
    if stopping is not None and stopping.is_set():
        raise EnvironmentFault("streamd is stopping")
    if process.returncode is not None and process.returncode < 0:
        why = f"took longer than {TIMEOUT_S:g} s, or were ended by signal {-process.returncode}"
        raise EnvironmentFault(f"the tests of {config} {why}")
    if process.returncode == _WRONG:
        raise ConfigError(errors.decode("utf-8", "replace").strip().removeprefix("streamd: "))
    raise ConfigError("\n".join(_failures(report, errors)))


def _failures(report: bytes, errors: bytes) -> Iterator[str]:
    """A line for each failed test, with its first difference."""
    try:
        tests: list[dict[str, Any]] = json.loads(report)["tests"]
    except (ValueError, KeyError, TypeError):
        last = errors.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no reason is known"]
        yield f"the tests cannot be run: {printable(last[0])}"
        return
    failed = [test for test in tests if not test["passed"]]
    yield f"{len(failed)} of {len(tests)} tests fail, and [daemon] tests requires them:"
    for test in failed:
        line, words = test["line"], [test["fault"].replace("\n", "; ")]
        if test["differences"]:
            first = test["differences"][0]
            line, words = first["line"], [f"{first['where']} {first['text']}"]
            words += [
                f"{one['name']}: expected {one['expected']}, got {one['got']}" for one in first["fields"]
            ]
        yield f"{test['file']}:{line}: test {test['name']!r}: {printable('; '.join(words), _SHOWN)}"
