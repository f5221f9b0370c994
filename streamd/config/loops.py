"""Checks for loops, in which a source reads its own sinks' records, and for files that no source can read."""

import ipaddress
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from streamd.config.problems import Problem
from streamd.config.tables import CONTROL_OFF
from streamd.config.validation import Parts
from streamd.core.errors import ConfigError
from streamd.core.settings import Address, SinkOutput, SinkSettings, SourceSettings, parse_address
from streamd.files.dated import DatedPath, is_dated

IP = ipaddress.IPv4Address | ipaddress.IPv6Address

_LOOPBACK: list[IP] = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
_LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
_NUMBERED = re.compile(r"\.\d{6,}(?:\.gz)?\Z", re.ASCII)
"""The suffix that a file sink adds to the name of a full file."""
_BESIDE_DATABASE = re.compile(r"-(?:wal|shm|journal)\Z")


def check(parts: Parts, base_dir: Path, problems: list[Problem]) -> None:
    """Add to `problems` each source that follows a file of streamd's own, and each loop of records."""
    state_dir = Path(getattr(parts.plain.get("daemon"), "state_dir", ""))
    followed = {
        name: Path(os.path.realpath(base_dir / str(getattr(source, "path", ""))))
        for name, source in parts.sources.items()
        if source is not None and getattr(source, "type", "") == "file"
    }
    for name, path in followed.items():
        owner = _owner(parts, state_dir, path)
        if owner:
            problems.append(Problem(("sources", name, "path"), owner))
    feeds = {
        (sink, source): key for sink in parts.sinks for source, key in _fed(parts, state_dir, followed, sink)
    }
    reported: set[frozenset[str]] = set()
    for (sink, source), key in feeds.items():
        way = _way(parts, feeds, source, sink)
        if way is None or frozenset(way) in reported:
            continue
        reported.add(frozenset(way))
        problems.append(
            Problem(
                ("sinks", sink, key),
                f"sources.{source} reads the records that this sink writes, and they reach this sink again,"
                f" without end: {' > '.join(way)}",
            )
        )


def _owner(parts: Parts, state_dir: Path, path: Path) -> str:
    """The reason why a file of streamd's own cannot be followed; empty for any other file."""
    plain = _BESIDE_DATABASE.sub("", str(path))
    databases = [(key, getattr(parts.plain.get(key), "path", None)) for key in ("ledger", "dead_letters")]
    databases += [
        (f"sinks.{name}", output.at)
        for name, sink in parts.sinks.items()
        if isinstance(sink, SinkSettings)
        for output in sink.outputs
        if output.kind == "database"
    ]
    for owner, database in databases:
        if database and _is(state_dir / database, Path(plain)):
            return f"this is the database of {owner}; a followed file must hold frames, such as lines"
    sockets = [
        (f"sources.{name}", str(endpoint.at))
        for name, source in parts.sources.items()
        if isinstance(source, SourceSettings)
        for endpoint in source.endpoints
        if endpoint.kind == "unix"
    ]
    control = getattr(parts.plain.get("control"), "path", CONTROL_OFF)
    for owner, socket_path in [*sockets, ("control", control if control != CONTROL_OFF else None)]:
        if socket_path and _is(state_dir / socket_path, path):
            return f"this is the socket of {owner}, which cannot be read as a file"
    if path.parent == Path(os.path.realpath(state_dir / "positions")):
        return "streamd writes the positions of followed files there"
    return ""


def _is(written: Path, path: Path) -> bool:
    """Whether the path `written`, which may be dated, leads to the file at `path`, also through a link."""
    if is_dated(written):
        try:
            dated = DatedPath(Path(os.path.realpath(written.parent)) / written.name)
        except ConfigError:  # the sink reports it
            return False
        same_folder = path.parent == dated.pattern.parent
        return path == dated.pattern or (same_folder and dated.start_of_file(path) is not None)
    if os.path.realpath(written) == str(path):
        return True
    try:
        return written.samefile(path)
    except OSError:
        return False


def _fed(
    parts: Parts, state_dir: Path, followed: dict[str, Path], sink_name: str
) -> Iterator[tuple[str, str]]:
    """The sources that read what a sink writes, each with the key of the sink that names the path or peer."""
    sink = parts.sinks[sink_name]
    for output in sink.outputs if isinstance(sink, SinkSettings) else ():
        if output.kind == "file":
            for name, path in followed.items():
                unnumbered = path.with_name(_NUMBERED.sub("", path.name) or path.name)
                if any(_is(state_dir / output.at, file) for file in {path, unnumbered}):
                    yield name, output.key
        elif not output.in_files:
            for name, source in parts.sources.items():
                if isinstance(source, SourceSettings) and _is_reached(output, source, state_dir):
                    yield name, output.key


def _is_reached(output: SinkOutput, source: SourceSettings, state_dir: Path) -> bool:
    """Whether the source takes what is sent there: the protocol and the address or socket are the same."""
    return any(
        reaches(parse_address(output.at), endpoint.at)
        if isinstance(endpoint.at, Address)
        else _is(state_dir / output.at, Path(os.path.realpath(state_dir / endpoint.at)))
        for endpoint in source.endpoints
        if endpoint.kind == output.kind
    )


def _way(parts: Parts, feeds: dict[tuple[str, str], str], source: str, sink: str) -> list[str] | None:
    """The shortest way of a record from a source to a sink, or None if there is none."""
    ways = [[f"sources.{source}"]]
    seen = {source}
    for way in ways:
        at = way[-1].removeprefix("sources.")
        for name, pipeline in parts.pipelines.items():
            if pipeline is None or at not in pipeline.sources:
                continue
            if sink in pipeline.sinks:
                return [*way, f"pipelines.{name}", f"sinks.{sink}"]
            for other, fed in feeds:
                if other in pipeline.sinks and fed not in seen:
                    seen.add(fed)
                    ways.append([*way, f"pipelines.{name}", f"sinks.{other}", f"sources.{fed}"])
    return None


def reaches(address: Address, listen: Address) -> bool:
    """Whether a connection to `address` reaches a listener on this host. Makes no DNS query."""
    if address.port != listen.port:
        return False
    listening = _addresses(listen.host)
    if address.host == listen.host and not listening:
        return True
    for target in _addresses(address.host):
        reached = _LOOPBACK[target.version == 6] if target.is_unspecified else target  # noqa: PLR2004 - IPv6
        for ip in listening:
            if ip == reached:
                return True
            if ip.is_unspecified and (ip.version == 6 or reached.version == 4) and _is_ours(reached):  # noqa: PLR2004
                return True
    return False


def _addresses(host: str) -> list[IP]:
    """The addresses of a host, from its own text, the host's own names and `/etc/hosts`."""
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    else:
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return [mapped or ip]
    name = host.lower().rstrip(".")
    if name in _LOCAL_NAMES or name.endswith(".localhost"):
        return _LOOPBACK
    found = _LOOPBACK[:] if name == socket.gethostname().lower() else []
    try:
        lines = Path("/etc/hosts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        words = line.partition("#")[0].lower().split()
        if name in words[1:]:
            found += _addresses(words[0])
    return found


def _is_ours(ip: IP) -> bool:
    """Whether this host has the address. A socket is bound to it as a test. Nothing is sent."""
    if ip.is_loopback:
        return True
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET  # noqa: PLR2004
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(ip), 0))
    except OSError:
        return False
    return True
