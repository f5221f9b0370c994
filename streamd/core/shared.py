"""What the components of one process share."""

from typing import Any, TypeVar

T = TypeVar("T")


class Shared:
    """One object of each class, made without arguments when a component first asks for it.

    So a sink of another package can share a pool or a client among its instances, as the sinks of SQLite
    share their writer connections.
    """

    def __init__(self, *made: object) -> None:
        """`made` are objects that are there already."""
        self._made: dict[type, Any] = {type(one): one for one in made}

    def __call__(self, cls: type[T]) -> T:
        """The process's object of the class. Raises what its constructor raises."""
        if cls not in self._made:
            self._made[cls] = cls()
        made: T = self._made[cls]
        return made
