"""Whether the kernel lets as many connections wait to be accepted as the daemon asks for."""

from collections.abc import Iterator

from streamd.config import Loaded
from streamd.host.doctor.finding import Finding, sysctl
from streamd.host.doctor.host import Host
from streamd.net.acceptor import BACKLOG

CHECK = "backlog"
_SOMAXCONN = "net.core.somaxconn"


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """One finding where anything accepts connections."""
    if any(source.most_connections for source in loaded.config.sources.values()):
        yield judge(host.number("/proc/sys/net/core/somaxconn"))


def judge(somaxconn: int | None) -> Finding:
    """The kernel cuts every backlog to `somaxconn`."""
    text = f"{BACKLOG:,} connections may wait to be accepted"
    if somaxconn is None:
        return Finding("unknown", CHECK, f"{text}; {_SOMAXCONN} cannot be read here")
    if somaxconn < BACKLOG:
        return Finding(
            "advice", CHECK, f"{text}, {_SOMAXCONN} cuts that to {somaxconn:,}", sysctl(_SOMAXCONN, BACKLOG)
        )
    return Finding("fine", CHECK, f"{text}, {_SOMAXCONN} allows {somaxconn:,}")
