"""What the running daemon of a configuration holds."""

from pathlib import Path
from typing import NamedTuple

from streamd.cli import _control
from streamd.cli.status import fetch
from streamd.config import Loaded
from streamd.core.errors import EnvironmentFault, Place
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
    path = _control.place_of(loaded.path, loaded.config.daemon, loaded.config.control)
    if path is None:
        return Running()
    try:
        status = fetch(path)[0]
        return Running(Path(status.config), tuple(status.holds))
    except (EnvironmentFault, ValueError):
        return Running()
