"""Checks whether the kernel grants the daemon's backlog, the number of connections that wait for accept."""

from collections.abc import Iterator

from streamd.config import Loaded
from streamd.host.doctor.finding import Finding, sysctl
from streamd.host.doctor.host import Host
from streamd.net.acceptor import BACKLOG

CHECK = "backlog"
_SOMAXCONN = "net.core.somaxconn"


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """One finding if a source accepts connections."""
    if any(source.most_connections for source in loaded.config.sources.values()):
        yield judge(host.number("/proc/sys/net/core/somaxconn"))


def judge(somaxconn: int | None) -> Finding:
    """Compare `somaxconn`, to which the kernel cuts every backlog, with the daemon's backlog."""
    text = f"{BACKLOG:,} connections may wait to be accepted"
    if somaxconn is None:
        return Finding("unknown", CHECK, f"{text}; {_SOMAXCONN} cannot be read here")
    if somaxconn < BACKLOG:
        return Finding(
            "advice", CHECK, f"{text}, but {_SOMAXCONN} allows {somaxconn:,}", sysctl(_SOMAXCONN, BACKLOG)
        )
    return Finding("fine", CHECK, f"{text}, {_SOMAXCONN} allows {somaxconn:,}")
