"""What the running daemon of a configuration listens on."""

from typing import NamedTuple

from streamd.cli import _control
from streamd.cli.status import fetch
from streamd.config import Loaded
from streamd.core.errors import EnvironmentFault
from streamd.core.settings import Address, parse_address


class Listening(NamedTuple):
    """Ports by source; none where no daemon runs. The admin address is not told: it has one while it runs."""

    ports: dict[str, set[int]]

    def holds(self, source: str, address: Address) -> bool:
        """Whether a port that is taken is taken by this source of the daemon."""
        return address.port in self.ports.get(source, ())


def listening(loaded: Loaded) -> Listening:
    """What the daemon says that answers at the control socket. Waits 3 s for it at most."""
    path = _control.place_of(loaded.path, loaded.config.daemon, loaded.config.control)
    if path is None:
        return Listening({})
    try:
        sources = fetch(path)[0].sources
        return Listening(
            {
                source.name: {parse_address(address).port for address in source.listening if ":" in address}
                for source in sources
            }
        )
    except (EnvironmentFault, ValueError):
        return Listening({})
