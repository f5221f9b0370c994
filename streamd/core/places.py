"""Compares the place that a component asks for with the places that other components hold."""

from collections.abc import Iterable

from streamd.core.errors import Place
from streamd.core.settings import parse_address

_EVERY_HOST = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def is_held(place: Place, holds: Iterable[Place]) -> bool:
    """Whether `place` is among `holds`. An address of all interfaces equals any address with its port."""
    return any(_is_same(place, other) for other in holds)


def _is_same(place: Place, other: Place) -> bool:
    if place == other:
        return True
    if place[0] != other[0] or place[0] not in ("udp", "tcp"):
        return False
    one, two = parse_address(place[1]), parse_address(other[1])
    return one.port == two.port and (one.host in _EVERY_HOST or two.host in _EVERY_HOST)
