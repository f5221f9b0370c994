"""Checks whether the kernel grants the receive buffers of UDP sources."""

from collections.abc import Iterator
from typing import Any

from streamd.config import Loaded
from streamd.host.doctor.finding import Finding, sysctl
from streamd.host.doctor.host import Host
from streamd.host.notes import size

CHECK = "receive_buffer"
_RMEM_MAX = "net.core.rmem_max"


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """One finding for each UDP source."""
    rmem_max_bytes = host.number("/proc/sys/net/core/rmem_max")
    unit = host.socket_unit(loaded.config)
    for name, source in loaded.config.sources.items():
        if source.type == "udp":
            settings: Any = source
            is_held = unit is not None and unit.holds("udp", settings.listen)
            given_bytes = host.socket_receive_buffer_bytes if is_held else None
            yield judge(name, settings.receive_buffer, rmem_max_bytes, given_bytes)


def judge(source: str, asked_bytes: int, rmem_max_bytes: int | None, given_bytes: int | None) -> Finding:
    """Compare the requested buffer with the granted one. `given_bytes` is the buffer set by a socket unit.

    A socket unit may exceed `rmem_max`. The kernel cuts a request to `rmem_max`, doubles it for its own
    bookkeeping and reports the double. A source compares that double with its `receive_buffer`.
    """
    asked = f"sources.{source} asks for {size(asked_bytes)}"
    if given_bytes is not None and 2 * given_bytes >= asked_bytes:
        return Finding("fine", CHECK, f"{asked}, the socket unit gives {size(given_bytes)}")
    if rmem_max_bytes is None:
        return Finding("unknown", CHECK, f"{asked}; {_RMEM_MAX} cannot be read here")
    granted_bytes = 2 * min(asked_bytes, rmem_max_bytes)
    if granted_bytes >= asked_bytes:
        return Finding("fine", CHECK, f"{asked}, the kernel grants {size(granted_bytes)}")
    return Finding(
        "problem",
        CHECK,
        f"{asked}, the kernel grants {size(granted_bytes)}: a burst beyond that is lost",
        sysctl(_RMEM_MAX, asked_bytes),
    )
