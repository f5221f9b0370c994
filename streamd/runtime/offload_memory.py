"""The memory limit of a worker process.

Measured is the memory that only the process itself needs: anonymous and shared pages, in memory or swapped
out, without the pages of files such as libraries. Outside of a control group the kernel does not limit this,
but it limits the private memory that a process *maps* (`RLIMIT_DATA`). So when the step is made, the process
may map as much more as it may still use. What libraries have mapped and not used until then, like the buffers
of a library for matrices, comes on top.

The limit holds only while the user's code runs. So the process can still answer when that code has used all.
"""

import resource
from pathlib import Path

from streamd.core.errors import EnvironmentFault

_STATUS = Path("/proc/self/status")
_HELD = (b"RssAnon:", b"RssShmem:", b"VmSwap:")
FULL = 0.9
"""A process that holds this share of its limit after a batch is replaced."""
GROWN = 0.1
"""Unless it has grown by less than this share since its first batch: then a new one would hold as much."""


class MemoryLimit:
    """The limit of this process."""

    def __init__(self, limit_bytes: int) -> None:
        """Called when the step is made. Raises `EnvironmentFault` if the process holds more."""
        self._limit_bytes = limit_bytes
        self._first_bytes: int | None = None
        self._before, self._most = resource.getrlimit(resource.RLIMIT_DATA)
        held, mapped = _bytes_of(_HELD), _bytes_of((b"VmData:",))
        if held > limit_bytes:
            raise EnvironmentFault(
                f"with its modules and its object the process holds {mb(held)}, but memory_limit is "
                f"{mb(limit_bytes)}"
            )
        self._soft = mapped + limit_bytes - held
        for bound in (self._before, self._most):
            if bound != resource.RLIM_INFINITY:
                self._soft = min(self._soft, bound)

    def set(self) -> None:
        """Limit the process: an allocation beyond the limit raises `MemoryError`."""
        resource.setrlimit(resource.RLIMIT_DATA, (self._soft, self._most))

    def lift(self) -> None:
        """Lift the limit."""
        resource.setrlimit(resource.RLIMIT_DATA, (self._before, self._most))

    def full_bytes(self) -> int:
        """The memory of a process that should be replaced after this batch; otherwise 0."""
        held = _bytes_of(_HELD)
        if self._first_bytes is None:
            self._first_bytes = held
        threshold = max(FULL * self._limit_bytes, self._first_bytes + GROWN * self._limit_bytes)
        return held if held > min(threshold, self._limit_bytes) else 0


def mb(size_bytes: int) -> str:
    """The size in words."""
    return f"{size_bytes / 1e6:.0f} MB"


def _bytes_of(names: tuple[bytes, ...]) -> int:
    found = 0
    for line in _STATUS.read_bytes().splitlines():
        if line.startswith(names):
            found += int(line.split()[1]) * 1024
    return found
