"""The tests and replays that a client of the daemon asks for. Each runs in a process of its own."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from streamd.admin.backing import Backing
from streamd.config import Loaded
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.reload.own_command import Ended, run_command
from streamd.reload.required_tests import TIMEOUT_S, lines_of

REPLAY_TIMEOUT_S = 120.0
"""Longest time of a replay. The letters that are not reached stay."""
_GRACE_S = 20.0
_WRONG = 2


class AskedWork:
    """Runs at most one of them at a time, so that clients cannot load the host with them."""

    def __init__(self, loaded: Callable[[], Loaded], stopping: asyncio.Event) -> None:
        self._loaded = loaded
        self._stopping = stopping
        self._is_running = False

    async def tests(self) -> dict[str, Any]:
        """Run the tests in the configuration's files, as `streamd test` does.

        Returns the numbers `passed` and `failed`, and the `report`. Raises `ConfigError` if a test is wrong
        or if there is none, and `EnvironmentFault`.
        """
        path = self._loaded().path
        ended = await self._run(["test", "--json", "--config", str(path)], TIMEOUT_S, f"the tests of {path}")
        tests = _decoded(ended)["tests"]
        passed = sum(test["passed"] for test in tests)
        return {"passed": passed, "failed": len(tests) - passed, "report": "\n".join(_report(tests))}

    async def replay(self, ids: Sequence[int]) -> dict[str, Any]:
        """Replay the letters in the configuration's file, as `streamd dead-letters replay` does.

        Returns the numbers of letters by fate. Raises `ConfigError` and `EnvironmentFault`.
        """
        loaded = self._loaded()
        if any(sink.type == "stdout" for sink in loaded.config.sinks.values()):
            numbers = " ".join(map(str, ids))
            raise EnvironmentFault(
                "a sink prints records, which nobody would see: type `streamd dead-letters replay"
                f" {numbers}` in a terminal"
            )
        arguments = ["dead-letters", "replay", "--json", "--config", str(loaded.path), *map(str, ids)]
        ended = await self._run(arguments, REPLAY_TIMEOUT_S, "the replays", grace_s=_GRACE_S)
        found: dict[str, Any] = _decoded(ended)
        return found

    async def _run(self, arguments: list[str], timeout_s: float, what: str, grace_s: float = 0.0) -> Ended:
        if self._is_running:
            raise EnvironmentFault("tests or a replay run already: try again when they have ended")
        self._is_running = True
        try:
            return await run_command(arguments, timeout_s, self._stopping, what=what, grace_s=grace_s)
        finally:
            self._is_running = False


def backing(loaded: Callable[[], Loaded], stopping: asyncio.Event) -> Backing:
    """The configuration and the work, for the servers of a daemon that stops when `stopping` is set."""
    work = AskedWork(loaded, stopping)
    return Backing(loaded, work.tests, work.replay)


def _decoded(ended: Ended) -> Any:
    if ended.code == _WRONG:
        raise ConfigError(ended.error)
    try:
        return json.loads(ended.output)
    except ValueError:
        raise EnvironmentFault(ended.error or "the command wrote no result") from None


def _report(tests: list[dict[str, Any]]) -> Iterator[str]:
    for test in tests:
        if test["passed"]:
            yield f"passed  {test['name']}"
            continue
        yield f"FAILED  {test['name']}"
        yield from (f"        {line}" for line in lines_of(test))
