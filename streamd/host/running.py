"""What the running daemon of a configuration holds, and where it keeps its data."""

import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from streamd.admin import client
from streamd.admin.status_answer import fetch
from streamd.config import Loaded, find, load
from streamd.core.errors import ConfigError, EnvironmentFault, Place
from streamd.core.places import is_held


class Running(NamedTuple):
    """The daemon that answers at the control socket; nothing is held where none does."""

    config: Path | None = None
    """The configuration it runs."""
    places: tuple[Place, ...] = ()

    def holds(self, place: Place) -> bool:
        """Whether an address, socket, lock or database that is taken is taken by this daemon."""
        return is_held(place, self.places)


def running(loaded: Loaded) -> Running:
    """What the daemon says that answers at the control socket. Waits 3 s for it at most."""
    path = client.place_of(loaded.path, loaded.config.daemon, loaded.config.control)
    if path is None:
        return Running()
    try:
        status = fetch(path)[0]
        return Running(Path(status.config), tuple(status.holds))
    except (EnvironmentFault, ValueError):
        return Running()


def loaded_where_it_runs(explicit: str | None, *, may_be_missing: bool = False) -> Loaded:
    """The configuration, whose `state_dir` is that of the daemon that runs on it.

    Where the configuration names no absolute `state_dir`, it depends on where the daemon was started; that
    is what the daemon itself is asked for, and without any configuration also which one it has. Raises
    `ConfigError`, and `EnvironmentFault` where neither the folder nor a daemon is there.
    """
    try:
        path = find(explicit)
    except ConfigError as error:
        path = client.the_only_daemon(error).config
    loaded = load(path)
    settings, control = loaded.config.daemon, loaded.control_path
    if os.path.isabs(settings.state_dir) or (control is not None and os.path.exists(control)):  # noqa: PTH110, PTH117 - no error where nobody may look
        return loaded
    daemon = client.daemon_of(path)
    if daemon is not None:
        settings = settings.model_copy(update={"state_dir": str(daemon.state_dir)})
        return replace(loaded, config=loaded.config.model_copy(update={"daemon": settings}))
    if not may_be_missing and not os.path.exists(loaded.state_dir):  # noqa: PTH110 - the same
        raise EnvironmentFault(
            f"there is no {loaded.state_dir}, and no daemon that runs on {client.plain(path)} was found:"
            " start it, go to the folder where it is started, set [daemon] state_dir to a whole path, or"
            " name a file with --db FILE"
        )
    return loaded
