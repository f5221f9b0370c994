"""Reads structured data whose names were seen before by cutting it at its quotes."""

from collections.abc import Sequence
from typing import NamedTuple

from streamd.syslog import structured_data
from streamd.syslog.message import Elements

_END = "] "
_LONGEST, _SHAPES_KEPT = 1024, 1024


class _Element(NamedTuple):
    """An SD-ID, the names of its parameters, and which of the values in quotes are theirs."""

    name: str
    parameters: Sequence[str]
    first: int
    last: int
    """Behind the last one."""


class ElementShapes:
    """Remembers the texts between the quotes of structured data, and which names they hold."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], list[_Element] | None] = {}

    def read(self, text: str) -> tuple[Elements, str] | None:
        """The elements at the beginning of `text`, and the message; None if `structured_data.read` is needed.

        Costs two thirds of it for two parameters.
        """
        written, end, message = text.partition(_END)
        parts = written.split('"')
        between = tuple(parts[::2])
        try:
            elements = self._known[between]
        except KeyError:
            elements = self._add(between, written)
        # Without an escape, a text that is cut inside of quotes has an even number of parts.
        if elements is None or not end or len(parts) % 2 == 0 or "\\" in written:
            return None
        values = parts[1::2]
        if len(elements) == 1:
            return {elements[0].name: dict(zip(elements[0].parameters, values))}, message  # noqa: B905 - equal
        return {
            name: dict(zip(parameters, values[first:last], strict=True))
            for name, parameters, first, last in elements
        }, message

    def _add(self, between: tuple[str, ...], written: str) -> list[_Element] | None:
        if len(written) > _LONGEST:
            return None
        if len(self._known) >= _SHAPES_KEPT:
            self._known.clear()
        self._known[between] = shape = _shape(between)
        return shape


def _shape(between: Sequence[str]) -> list[_Element] | None:
    """The elements between whose quotes these texts are; None if they are not read by their places alone."""
    written = between[0] + "".join(f'"{place}"{text}' for place, text in enumerate(between[1:])) + "]"
    found = structured_data.read(written, 0)
    if found is None or found[0] is None or found[1] != len(written):
        return None
    elements: list[_Element] = []
    first = 0
    for name, parameters in found[0].items():
        end = first + len(parameters)
        if list(parameters.values()) != [str(place) for place in range(first, end)]:
            return None
        elements.append(_Element(name, tuple(parameters), first, end))
        first = end
    return elements if first == len(between) - 1 else None
