"""The running daemon of a configuration: the places it holds and its state folder."""

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
    """The daemon that answers at the control socket. If none answers, it is empty and holds nothing."""

    config: Path | None = None
    """The path of its configuration."""
    places: tuple[Place, ...] = ()

    def holds(self, place: Place) -> bool:
        """Whether this daemon holds the address, socket, lock or database."""
        return is_held(place, self.places)


def running(loaded: Loaded) -> Running:
    """Ask the daemon at the control socket for its places. Waits at most 3 s."""
    path = client.place_of(loaded.path, loaded.config.daemon, loaded.config.control)
    if path is None:
        return Running()
    try:
        status = fetch(path)[0]
        return Running(Path(status.config), tuple(status.holds))
    except (EnvironmentFault, ValueError):
        return Running()


def loaded_where_it_runs(explicit: str | None, *, may_be_missing: bool = False) -> Loaded:
    """The configuration with the `state_dir` of the daemon that runs on it.

    A relative `state_dir` depends on the folder in which the daemon was started, so the running daemon is
    asked for it. If no configuration is found, the only running daemon is asked for that too. Raises
    `ConfigError`, and `EnvironmentFault` if there is neither a state folder nor a daemon.
    """
    try:
        path = find(explicit)
    except ConfigError as error:
        path = client.the_only_daemon(error).config
    loaded = load(path)
    settings, control = loaded.config.daemon, loaded.control_path
    if os.path.isabs(settings.state_dir) or (control is not None and os.path.exists(control)):  # noqa: PTH110, PTH117 - False, not an error, without permission
        return loaded
    daemon = client.daemon_of(path)
    if daemon is not None:
        settings = settings.model_copy(update={"state_dir": str(daemon.state_dir)})
        return replace(loaded, config=loaded.config.model_copy(update={"daemon": settings}))
    if not may_be_missing and not os.path.exists(loaded.state_dir):  # noqa: PTH110 - the same
        raise EnvironmentFault(
            f"there is no {loaded.state_dir}, and no daemon that runs on {client.plain(path)} was found:"
            " start it, change to the folder where it is started, set [daemon] state_dir to an absolute path,"
            " or name a file with --db FILE"
        )
    return loaded
