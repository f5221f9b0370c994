"""Notes of `check`: settings that are valid and may have unexpected effects."""

import os
import resource
import stat
from collections.abc import Iterator

from streamd.config import Config, Loaded, groups
from streamd.config.tables import is_loopback
from streamd.core.clock import read_clock
from streamd.core.errors import EnvironmentFault
from streamd.core.listed import listed
from streamd.core.settings import Address
from streamd.host.step_files import python_files
from streamd.net.listener_tls import ListenerTls

MUCH_UNFINISHED_BYTES = 1 << 30
"""A note is made if the connections of one source may hold more than this in addition to its buffer."""


def notes(loaded: Loaded) -> list[str]:
    """One sentence for each note. Some notes depend on this host's memory, files and limits."""
    config = loaded.config
    found: list[str] = []
    for name, source in config.sources.items():
        for endpoint in source.endpoints if not getattr(source, "allow", ()) else ():
            address = endpoint.at
            if isinstance(address, Address) and not is_loopback(address.host):
                found.append(
                    f"sources.{name}: every host that reaches {address} may send; `allow` limits the senders"
                )
        if source.type == "udp" and source.buffer.when_full == "block":
            found.append(
                f"sources.{name}: udp senders cannot wait; with block the kernel drops datagrams instead"
            )
    found += _blocking_sinks(config)
    found += _files_of_workers(config)
    used = {sink for pipeline in config.pipelines.values() for sink in pipeline.sinks}
    found += [f"sinks.{name}: no pipeline writes to it" for name in config.sinks if name not in used]
    found += _writable_by_others(loaded)
    found += _doubtful_certificates(loaded)
    found += _connections(config)
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if buffers_bytes(loaded) > memory_bytes // 2:
        found.append(f"full buffers take more than half of this host's memory ({size(memory_bytes)})")
    return found


def _blocking_sinks(config: Config) -> list[str]:
    """For each sink that blocks: the parts that stop while it is full."""
    found: list[str] = []
    for sink, settings in config.sinks.items():
        writing = [name for name, pipeline in config.pipelines.items() if sink in pipeline.sinks]
        if writing and (settings.buffer.when_full or "block") == "block":
            what = f"pipelines {listed(writing)} stop" if len(writing) > 1 else f"pipeline {writing[0]} stops"
            stopped = "; ".join(_stopped(config, sink, writing))
            found.append(f"sinks.{sink} blocks: while it is full, {what}: {stopped}")
    return found


def _files_of_workers(config: Config) -> list[str]:
    """Databases in a file that have to be the same for all workers that read partitions."""
    found: dict[str, list[str]] = {}
    for pipeline in config.pipelines.values():
        claiming = [source for source in pipeline.sources if config.sources[source].claims_inputs]
        for sink in pipeline.sinks if claiming else ():
            if any(output.kind == "database" for output in config.sinks[sink].outputs):
                found.setdefault(sink, []).extend(claiming)
    return [
        f"sinks.{sink}: records of {listed(list(dict.fromkeys(sources)))} are stored once only if all workers"
        " write this one file; workers on several machines need a sink postgresql"
        for sink, sources in found.items()
    ]


def _stopped(config: Config, sink: str, writing: list[str]) -> Iterator[str]:
    """What stops with the pipelines that write to a full sink."""
    pipelines = [config.pipelines[name] for name in writing]
    sources = list(dict.fromkeys(source for pipeline in pipelines for source in pipeline.sources))
    waiting = [source for source in sources if config.sources[source].when_full == "block"]
    files = [source for source in waiting if config.sources[source].type == "file"]
    if sending := [source for source in waiting if source not in files]:
        yield f"the senders of {listed(sending)}"
    if files:
        yield f"the reading of {listed(files)}"
    if dropping := [source for source in sources if source not in waiting]:
        yield f"{listed(dropping)}, which then {'drop' if len(dropping) > 1 else 'drops'}"
    if others := [other for pipeline in pipelines for other in pipeline.sinks if other != sink]:
        yield listed(list(dict.fromkeys(others)))
    together = {name: group for group in groups(config) for name in group}
    of_groups = dict.fromkeys(other for name in writing for other in together[name])
    if sharing := [other for other in of_groups if other not in writing]:
        what, share = ("pipelines", "share") if len(sharing) > 1 else ("pipeline", "shares")
        yield f"{what} {listed(sharing)}, which {share} a source"


def _connections(config: Config) -> list[str]:
    """Sources whose connections may need more memory or open files than expected."""
    found: list[str] = []
    connections = 0
    for name, source in config.sources.items():
        most = source.most_connections
        connections += most
        unfinished_bytes = most * (source.cut_by.max_frame if source.cut_by else 0)
        if unfinished_bytes > MUCH_UNFINISHED_BYTES:
            found.append(
                f"sources.{name}: in addition to its buffer, its connections may hold"
                f" {size(unfinished_bytes)} of unfinished frames (max_connections times max_frame)"
            )
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)  # the daemon raises its limit to this hard limit
    if connections > files:
        found.append(
            f"the sources accept {connections:,} connections in all, but this host's limit is {files:,} files"
        )
    return found


def _writable_by_others(loaded: Loaded) -> list[str]:
    """Python files that another user could change or replace. Their code runs as the daemon."""
    found: list[str] = []
    for place, path in python_files(loaded):
        about, folder = path.stat(), path.parent.stat()
        if about.st_mode & 0o022 or about.st_uid not in (0, os.getuid()):
            found.append(
                f"{place}: users other than this one may change {path}, and its code runs as the daemon"
            )
        elif folder.st_mode & 0o022 and not folder.st_mode & stat.S_ISVTX:
            found.append(
                f"{place}: users other than this one may replace {path}, because its folder is writable for"
                " them, and its code runs as the daemon"
            )
    return found


def _doubtful_certificates(loaded: Loaded) -> list[str]:
    """Certificates that expire soon and keys that every user can read. Invalid files are faults, no notes."""
    found: list[str] = []
    now_wall_s = read_clock().wall_s
    for name, source in loaded.config.sources.items():
        settings = getattr(source, "tls", None)
        if settings is None:
            continue
        try:
            tls = ListenerTls.read(settings, loaded.base_dir)
        except EnvironmentFault:
            continue
        found += [f"sources.{name}: {doubt}" for doubt in (tls.doubts(now_wall_s) if tls else ())]
    return found


def buffers_bytes(loaded: Loaded) -> int:
    """The size of all full buffers together."""
    config = loaded.config
    return sum(
        buffer.max_bytes
        for buffer in (
            *(source.buffer for source in config.sources.values()),
            *(sink.buffer for sink in config.sinks.values()),
        )
    )


def size(size_bytes: int) -> str:
    """A number of bytes with a binary unit, such as `64 MiB`."""
    number, unit = float(size_bytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):  # noqa: B007 - used after the loop
        if number < 1024:  # noqa: PLR2004 - the factor between these units
            break
        number /= 1024
    return f"{number:.4g} {unit}"
