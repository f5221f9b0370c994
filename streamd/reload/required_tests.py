"""Runs the tests of a configuration in another process, before a start or a reload that requires them."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streamd.core.errors import ConfigError
from streamd.core.plural import counted
from streamd.core.printable import printable
from streamd.reload.own_command import run_command

TIMEOUT_S = 120.0
"""Longest time of all tests together."""
_WRONG = 2
_SHOWN = 500


async def require_tests(config: Path, stopping: asyncio.Event | None = None) -> None:
    """Return if all tests of the configuration pass.

    Raises `ConfigError` if a test fails or is wrong or if there is none, and `EnvironmentFault` if the tests
    cannot be run, take too long, or if `stopping` is set meanwhile. The process has its own modules and its
    own clock, so the tests change nothing in this one.
    """
    arguments = ["test", "--json", "--config", str(config)]
    ended = await run_command(arguments, TIMEOUT_S, stopping, what=f"the tests of {config}")
    if ended.code == 0:
        return
    if ended.code == _WRONG:
        raise ConfigError(ended.error)
    raise ConfigError("\n".join(_failures(ended.output, ended.error)))


def _failures(report: bytes, errors: str) -> Iterator[str]:
    """A line for each failed test, with its first difference."""
    try:
        tests: list[dict[str, Any]] = json.loads(report)["tests"]
    except (ValueError, KeyError, TypeError):
        last = errors.splitlines()[-1:] or ["no reason is known"]
        yield f"the tests cannot be run: {printable(last[0])}"
        return
    failed = [test for test in tests if not test["passed"]]
    fail = f"{counted(len(tests), 'test')} {'fails' if len(failed) == 1 else 'fail'}"
    yield f"{len(failed)} of {fail}, and [daemon] tests requires them:"
    for test in failed:
        yield next(lines_of(test))


def lines_of(test: dict[str, Any]) -> Iterator[str]:
    """A line for each difference of a failed test of the report, or one for its fault."""
    found = [(test["line"], [test["fault"].replace("\n", "; ")])] if not test["differences"] else []
    for one in test["differences"]:
        fields = [
            f"{field['name']}: expected {field['expected']}, got {field['got']}" for field in one["fields"]
        ]
        found.append((one["line"], [f"{one['where']} {one['text']}", *fields]))
    for line, words in found:
        yield f"{test['file']}:{line}: test {test['name']!r}: {printable('; '.join(words), _SHOWN)}"
