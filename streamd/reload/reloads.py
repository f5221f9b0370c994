"""Runs the reloads of a daemon, requested by SIGHUP or through the control socket."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import structlog

from streamd.admin.control import AskingProcess
from streamd.admin.view import ReloadFailure, View
from streamd.core.errors import ConfigError, EnvironmentFault, StreamdError, describe
from streamd.reload.changes import Changes
from streamd.service.systemd import microseconds, notify

log = structlog.get_logger()


@contextmanager
def before_any_change() -> Iterator[None]:
    """For the part of a reload that changes nothing yet: an unexpected exception in it is a refusal.

    The exception comes from a fault of streamd or of a package, and the running parts are not affected. Its
    traceback is logged. Raises `EnvironmentFault` for it.
    """
    try:
        yield
    except StreamdError:
        raise
    except Exception as error:
        log.exception("reload_error", hint="this is a fault of streamd or of a package: please report it")
        text = f"an unexpected error, whose traceback is in the log: {describe(error)}"
        raise EnvironmentFault(text) from error


class Reloads:
    """Runs one reload at a time. systemd and the log are notified, and `status` shows the last outcome.

    `reload` is called with True for a dry run. It raises `ConfigError` or `EnvironmentFault` if the daemon
    keeps its previous configuration. Reloads wait while the daemon holds `lock`.
    """

    def __init__(self, reload: Callable[[bool], Awaitable[Changes]], view: View) -> None:
        self.lock = asyncio.Lock()
        self._reload = reload
        self._view = view

    async def ask(self, **asker: str | int) -> Changes | ConfigError | EnvironmentFault:
        """Reload and log the outcome with the fields of `asker`. A refusal is returned, not raised."""
        async with self.lock:
            notify("RELOADING=1", f"MONOTONIC_USEC={microseconds(self._view.clock().mono_s)}")
            try:
                changes = await self._reload(False)
            except (ConfigError, EnvironmentFault) as error:
                self._view.reload_failure = ReloadFailure(self._view.clock().wall_s, str(error))
                why, hint = str(error), "the daemon keeps the previous configuration"
                log.error("reload_failed", why=why, hint=hint, **asker)  # noqa: TRY400 - needs no traceback
                return error
            finally:
                notify("READY=1")
            self._view.reloaded_at_wall_s = self._view.clock().wall_s
            self._view.reload_failure = None
            log.info("reloaded", config=self._view.config_path, **changes.summary(), **asker)
            return changes

    async def answer(
        self, dry_run: bool, peer: AskingProcess, start: Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]]
    ) -> dict[str, Any]:
        """The answer to a client of the control socket. Raises `ConfigError` or `EnvironmentFault`.

        `start` runs the reload in a task of the daemon, because the client may disconnect.
        """
        if dry_run:
            changes = await self.dry_run()
        else:
            outcome = await asyncio.shield(start(self.ask(asked_by="control", pid=peer.pid, uid=peer.uid)))
            if isinstance(outcome, StreamdError):
                raise outcome
            changes = outcome
        return {"dry_run": dry_run, "nothing": changes.nothing, **asdict(changes)}

    async def dry_run(self) -> Changes:
        """The changes that a reload would make, not logged. Raises `ConfigError` or `EnvironmentFault`."""
        async with self.lock:
            return await self._reload(True)
