"""Checks whether full buffers fit into memory."""

import re
from collections.abc import Iterator

from streamd.config import Loaded
from streamd.host.doctor.finding import Finding
from streamd.host.doctor.host import Host
from streamd.host.notes import buffers_bytes, size

CHECK = "memory"
_BASE_BYTES = 64 << 20
"""The memory of a daemon with empty buffers."""


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """One finding."""
    meminfo = host.text("/proc/meminfo") or ""
    yield judge(
        buffers_bytes(loaded), _field_bytes(meminfo, "MemTotal"), _field_bytes(meminfo, "MemAvailable")
    )


def judge(buffers: int, total: int | None, available: int | None) -> Finding:
    """Compare full buffers with the host's total and available memory, all in bytes."""
    text = f"full buffers take {size(buffers)}"
    if total is None or available is None:
        return Finding("unknown", CHECK, f"{text}; this host's memory cannot be read here")
    text += f", this host has {size(total)} of memory, {size(available)} available"
    if buffers + _BASE_BYTES > total:
        return Finding("problem", CHECK, f"{text}: make buffer.max_bytes smaller")
    if buffers + _BASE_BYTES > available:
        return Finding("advice", CHECK, text)
    return Finding("fine", CHECK, text)


def _field_bytes(meminfo: str, name: str) -> int | None:
    found = re.search(rf"^{name}: +(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) * 1024 if found else None
