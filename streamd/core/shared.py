"""Objects that the components of a process share."""

from typing import Any, TypeVar

T = TypeVar("T")


class Shared:
    """Holds one object of each class. Each is made, without arguments, when a component first asks for it.

    For example, all sinks of SQLite share their writer connections. A sink of another package can share a
    pool or a client in the same way.
    """

    def __init__(self, *made: object) -> None:
        """`made` are existing objects to share."""
        self._made: dict[type, Any] = {type(one): one for one in made}

    def __call__(self, cls: type[T]) -> T:
        """The shared object of the class. Raises any exception of its constructor."""
        if cls not in self._made:
            self._made[cls] = cls()
        made: T = self._made[cls]
        return made
