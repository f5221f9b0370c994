"""Who may send, by network."""

import ipaddress
from typing import Annotated, Any

from pydantic import BeforeValidator

_CACHE_SIZE = 65536


def _networks(value: Any) -> Any:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError('allow is a list of networks, like ["127.0.0.0/8", "fd00::/8"]')
    for item in value:
        ipaddress.ip_network(item)
    return value


Networks = Annotated[list[str], BeforeValidator(_networks)]


class AllowList:
    """Sender networks; false in a boolean context where everybody may send.

    It tells noise from signal and is no proof of origin: a UDP sender's address can be forged.
    """

    def __init__(self, networks: list[str]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._networks)

    def has(self, peer: str) -> bool:
        """Whether `peer` (`address:port`, IPv6 in brackets) may send."""
        if not self._networks:
            return True
        host = peer.rpartition(":")[0].strip("[]").partition("%")[0]
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= _CACHE_SIZE:
                self._known.clear()
            address = ipaddress.ip_address(host)
            known = self._known[host] = any(address in network for network in self._networks)
        return known
