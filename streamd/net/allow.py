"""The networks that may send to a source."""

import ipaddress
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

from streamd.core.peer import Peer

_CACHE_SIZE = 65536


def _networks(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        instead = f'; write ["{value}"]' if isinstance(value, str) else ""
        raise ValueError(
            f'{info.field_name or "allow"} is a list of networks, like ["127.0.0.0/8", "fd00::/8"]{instead}'
        )
    for item in value:
        try:
            ipaddress.ip_network(item)
        except ValueError:
            raise ValueError(_no_network(item)) from None
    return value


def _no_network(text: str) -> str:
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f'"{text}" is no network or address; write numbers, like "192.168.1.0/24" or "::1"'
    return f'"{text}" is an address in a network; write "{meant}", or "{text.partition("/")[0]}" for it alone'


Networks = Annotated[list[str], BeforeValidator(_networks)]


class AllowList:
    """The networks that may send; false as a bool if all may.

    It keeps out misdirected traffic. It proves no origin, because a UDP sender's address can be forged.
    """

    def __init__(self, networks: list[str]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._networks)

    def has(self, peer: Peer) -> bool:
        """True if `peer` may send. Answers are cached by host."""
        if not self._networks:
            return True
        known = self._known.get(peer.host)
        if known is None:
            if len(self._known) >= _CACHE_SIZE:
                self._known.clear()
            address = ipaddress.ip_address(peer.host.strip("[]").partition("%")[0])
            known = self._known[peer.host] = any(address in network for network in self._networks)
        return known
