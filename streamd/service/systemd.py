"""Messages to and settings from systemd: a datagram to `$NOTIFY_SOCKET`, and the watchdog's interval."""

import os
import socket
from collections.abc import Mapping

_USEC = 1_000_000


def notify(*assignments: str) -> bool:
    """Send `READY=1`, `STATUS=…` and the like in one datagram; whether it was sent. About 15 µs.

    Does nothing without `$NOTIFY_SOCKET`, and never waits or raises: whatever became of the service manager
    is no reason to lose a record.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = f"\0{address[1:]}"  # an abstract name
    text = "\n".join(assignment.replace("\n", " ") for assignment in assignments)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            sock.sendto(text.encode(errors="replace"), address)
    except (OSError, ValueError):  # ValueError: a name with NUL or too long for a socket
        return False
    return True


def microseconds(seconds: float) -> int:
    """As `…_USEC=` wants them."""
    return round(seconds * _USEC)


def watchdog_s(environ: Mapping[str, str], pid: int) -> float | None:
    """The seconds within which systemd wants each `WATCHDOG=1`; None where it does not wait for one.

    The variables hold for the process `$WATCHDOG_PID` names: who was started by it inherits them in vain.
    """
    usec = environ.get("WATCHDOG_USEC", "")
    wanted_pid = environ.get("WATCHDOG_PID", str(pid))
    if not (usec.isascii() and usec.isdigit()) or wanted_pid != str(pid) or int(usec) == 0:
        return None
    return int(usec) / _USEC
