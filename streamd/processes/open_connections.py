"""How many connections each process has open at each shared address, in memory that all of them map."""

import mmap
import os
from collections.abc import Iterable

from streamd.core.even_share import AWAY, EvenShare
from streamd.core.settings import Address

_WORD_BYTES = 8


class OpenConnections:
    """A word for each address and process. Only its process sets it while it lives, with one store."""

    def __init__(self, addresses: Iterable[Address], count: int, fd: int | None = None) -> None:
        """`fd`: the descriptor of memory that the leading process made; None makes it, with all away."""
        self.addresses = tuple(addresses)
        self._count = count
        self.fd = os.memfd_create("streamd-connections") if fd is None else fd
        os.set_inheritable(self.fd, False)
        words = max(1, len(self.addresses) * count)
        if fd is None:
            os.ftruncate(self.fd, words * _WORD_BYTES)
        self._memory = mmap.mmap(self.fd, words * _WORD_BYTES)
        self._words = memoryview(self._memory).cast("q")
        if fd is None:
            for number in range(count):
                self.leave(number)

    def share(self, listen: Address, number: int) -> EvenShare | None:
        """The part of a process in the connections to an address; None if the address is not shared."""
        if listen not in self.addresses:
            return None
        first = self.addresses.index(listen) * self._count
        return EvenShare(self._words[first : first + self._count], number)

    def leave(self, number: int) -> None:
        """The process has ended: the others do not wait for it."""
        for place in range(len(self.addresses)):
            self._words[place * self._count + number] = AWAY

    def close(self) -> None:
        """Forget the memory. The processes still have it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
