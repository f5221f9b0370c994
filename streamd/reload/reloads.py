"""Every reload of a running daemon, by SIGHUP or the control socket."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from streamd.admin.view import ReloadFailure, View
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.reload.changes import Changes
from streamd.service.systemd import microseconds, notify

log = structlog.get_logger()


class Reloads:
    """One at a time: each is reported to systemd and the log, and its outcome is remembered for `status`.

    `reload` is given whether it only tries; it raises `ConfigError` or `EnvironmentFault` where everything
    stays as it was. Whoever holds `lock` keeps reloads waiting.
    """

    def __init__(self, reload: Callable[[bool], Awaitable[Changes]], view: View) -> None:
        self.lock = asyncio.Lock()
        self._reload = reload
        self._view = view

    async def ask(self, **asker: str | int) -> Changes | ConfigError | EnvironmentFault:
        """Reload for `asker`, who is named in the log. A refusal is a value here: it ends nothing."""
        async with self.lock:
            notify("RELOADING=1", f"MONOTONIC_USEC={microseconds(self._view.clock().mono_s)}")
            try:
                changes = await self._reload(False)
            except (ConfigError, EnvironmentFault) as error:
                self._view.reload_failure = ReloadFailure(self._view.clock().wall_s, str(error))
                why, hint = str(error), "the daemon keeps the previous configuration"
                log.error("reload_failed", why=why, hint=hint, **asker)  # noqa: TRY400 - the words say it all
                return error
            finally:
                notify("READY=1")
            self._view.reloaded_at_wall_s = self._view.clock().wall_s
            self._view.reload_failure = None
            log.info("reloaded", config=self._view.config_path, **changes.summary(), **asker)
            return changes

    async def dry_run(self) -> Changes:
        """What a reload would change; nobody else hears of it. Raises `ConfigError` or `EnvironmentFault`."""
        async with self.lock:
            return await self._reload(True)
