"""Reports datagrams that the kernel has dropped."""

from collections.abc import Iterator

from streamd.config import Loaded
from streamd.core.plural import counted
from streamd.core.settings import Address
from streamd.host.doctor.finding import Finding
from streamd.host.doctor.host import Host

CHECK = "kernel_drops"


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """One finding for the port of each UDP source, and one for the whole host."""
    tables = [host.text(f"/proc/self/net/{name}") for name in ("udp", "udp6")]
    if tables[0] is None:
        yield Finding("unknown", CHECK, "the kernel's drop counters cannot be read here")
        return
    dropped = drops_by_port("\n".join(table or "" for table in tables))
    for name, source in loaded.config.sources.items():
        for kind, address, *_ in source.endpoints:
            if kind == "udp" and isinstance(address, Address) and address.port in dropped:
                yield judge(name, address.port, dropped[address.port])
    errors = receive_buffer_errors(host.text("/proc/self/net/snmp") or "")
    if errors is not None:
        yield judge_host(errors)


def judge(source: str, port: int, dropped: int) -> Finding:
    """Judge the drops at the port of a source since its socket was opened."""
    text = f"sources.{source}: the kernel has dropped {counted(dropped, 'datagram')} at port {port}"
    if not dropped:
        return Finding("fine", CHECK, text)
    return Finding(
        "problem", CHECK, f"{text} since its socket was opened: a larger receive_buffer holds more"
    )


def judge_host(errors: int) -> Finding:
    """Judge the drops of all programs since the start of the host or of its network namespace."""
    text = (
        f"{counted(errors, 'datagram')} of all programs {'was' if errors == 1 else 'were'} dropped on this"
        " host, because receive buffers were full"
    )
    return Finding("advice" if errors else "fine", CHECK, text)


def drops_by_port(table: str) -> dict[int, int]:
    """The drops by local port, from the last column of the text of /proc/net/udp."""
    found: dict[int, int] = {}
    for line in table.splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[0].endswith(":") and fields[-1].isdigit():  # noqa: PLR2004 - a row
            port = int(fields[1].rpartition(":")[2], 16)
            found[port] = found.get(port, 0) + int(fields[-1])
    return found


def receive_buffer_errors(snmp: str) -> int | None:
    """`RcvbufErrors` in the text of /proc/net/snmp, or None."""
    rows = [line.split() for line in snmp.splitlines() if line.startswith("Udp:")]
    if len(rows) != 2:  # noqa: PLR2004 - the names and the numbers
        return None
    value = dict(zip(*rows, strict=False)).get("RcvbufErrors", "")
    return int(value) if value.isdigit() else None
