"""Observes a running daemon for some seconds: its status, and the CPU time of its loop."""

import contextlib
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from streamd.admin.client import events
from streamd.admin.own_socket import short
from streamd.bench.child import thread_cpu_s
from streamd.capacity.figures import Figures
from streamd.capacity.measured import figures_of
from streamd.capacity.status import SeenStatus
from streamd.config import Config, load
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.printable import escape

_TIMEOUT_S = 10.0
"""The limit for the next status. The slow import of a step may delay the daemon for some seconds."""


class _Named(msgspec.Struct):
    config: str


class Observation(NamedTuple):
    """The status of a daemon, each second, its configuration, and its CPU seconds meanwhile.

    They are None where this user may not see them, or where the configuration is wrong by now.
    """

    seen: list[SeenStatus]
    config: Config | None
    cpu_s: float | None


def observed(path: Path, over_s: float, frame_bytes: float | None) -> Figures:
    """The figures of the daemon at this control socket, measured for `over_s`.

    Raises `EnvironmentFault` if no daemon answers, and `UnknownCapacityError` if it is idle.
    """
    found = observation(path, over_s, thread_cpu_s)
    return figures_of(found.seen, found.config, found.cpu_s, frame_bytes)


def observation(path: Path, over_s: float, cpu_s_of: Callable[[int], float]) -> Observation:
    """The daemon at this control socket for `over_s`; `cpu_s_of` gives the CPU seconds of its process.

    Raises `EnvironmentFault` if no daemon answers.
    """
    pid = _pid(path)
    cpu_before_s = _cpu_s(pid, cpu_s_of)
    seen: list[SeenStatus] = []
    body = b""
    try:
        for body in events(path, "/status?watch=1", _TIMEOUT_S):
            seen.append(msgspec.json.decode(body, type=SeenStatus))
            if len(seen) > 1 and seen[-1].uptime_s - seen[0].uptime_s >= over_s:
                break
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EnvironmentFault(
            f"the program that answers at {escape(str(path))} is not this streamd"
        ) from error
    if len(seen) < 2:  # noqa: PLR2004 - a difference needs two
        raise EnvironmentFault(f"the daemon at {escape(str(path))} ended while it was observed")
    cpu_after_s = _cpu_s(pid, cpu_s_of)
    cpu_s = None if cpu_before_s is None or cpu_after_s is None else cpu_after_s - cpu_before_s
    return Observation(seen, _config(msgspec.json.decode(body, type=_Named).config), cpu_s)


def _config(path: str) -> Config | None:
    """The configuration that the daemon runs on; None if this user cannot read it, or if it is wrong now."""
    with contextlib.suppress(ConfigError, EnvironmentFault, OSError):
        return load(Path(path)).config
    return None


def _pid(path: Path) -> int | None:
    """The process that listens at the socket, as the kernel says."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(1.0)
        sock.connect(str(short(path)))
        pid: int = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return pid or None  # 0 if it is in another namespace
    return None


def _cpu_s(pid: int | None, cpu_s_of: Callable[[int], float]) -> float | None:
    """None if this user may not see it."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return None if pid is None else cpu_s_of(pid)
    return None
