"""Reports the end of each connection after its last frame."""

from collections import deque

from streamd.core.frames import Frames
from streamd.core.peer import Peer


class Connections:
    """Counts the frames of each connection in a buffer, for a codec that holds frames.

    The buffer is fair, so only the frames of one connection stay in order. The end of a connection is due
    when none of its frames waits. A connection is identified by its `Peer` object, because two connections of
    one process have the same text. Costs about 0.3 µs for each read of a connection.
    """

    def __init__(self) -> None:
        self.counting = False
        """False if the codec does not hold frames."""
        self.over: deque[Peer] = deque()
        """Peers of connections that have ended and have no waiting frames."""
        self._waiting: dict[int, int] = {}
        self._ending: dict[int, Peer] = {}

    def count(self, *, on: bool) -> None:
        """Begin to count, or stop and forget all connections."""
        self.counting = on
        if not on:
            self._waiting.clear()
            self._ending.clear()
            self.over.clear()

    def came(self, frames: Frames) -> None:
        """Note that frames of one connection go into the buffer."""
        key = id(frames.peer(0))
        self._waiting[key] = self._waiting.get(key, 0) + len(frames)

    def went(self, frames: Frames) -> None:
        """Note that frames of one connection were taken from the buffer and decoded, or dropped."""
        key = id(frames.peer(0))
        left = self._waiting.get(key, 0) - len(frames)
        if left > 0:
            self._waiting[key] = left
            return
        self._waiting.pop(key, None)
        if key in self._ending:
            self.over.append(self._ending.pop(key))

    def ended(self, peer: Peer) -> None:
        """Note that the connection has ended."""
        if id(peer) in self._waiting:
            self._ending[id(peer)] = peer
        else:
            self.over.append(peer)
