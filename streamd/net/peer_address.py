"""The address of a receiver."""

from typing import Any

from streamd.core.settings import Address, parse_address


def peer_address(value: Any) -> Address:
    """As `parse_address`, for an address to send to. Raises ValueError for port 0."""
    address = parse_address(value)
    if address.port == 0:
        raise ValueError("port 0 is not a port to connect to")
    return address
