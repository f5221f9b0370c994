"""Checks whether the limit of open files is enough for connections and databases."""

import resource
from collections.abc import Iterator

from streamd.config import Loaded
from streamd.host.doctor.finding import Finding
from streamd.host.doctor.host import Host
from streamd.host.rehearsal import outputs

CHECK = "open_files"
_FILES_A_DATABASE = 3
"""The database, its write-ahead log and the log's index."""
_REST = 64
"""Listeners, the admin address and its connections, libraries, pipes of worker processes."""
_SYSTEMD_DEFAULT = 524288
"""The hard limit of a service without `LimitNOFILE=`. The daemon raises its soft limit to the hard limit."""


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """One finding: for the service if it runs this configuration, else for this shell."""
    config = loaded.config
    connections = sum(source.most_connections for source in config.sources.values())
    needed = connections + _FILES_A_DATABASE * len(outputs(loaded)) + len(config.sources) + _REST
    if not host.is_service:
        yield judge(needed, resource.getrlimit(resource.RLIMIT_NOFILE)[1], is_service=False)
        return
    said = (host.service_value("LimitNOFILE") or str(_SYSTEMD_DEFAULT)).rpartition(":")[2]
    if said == "infinity":
        said = str(resource.RLIM_INFINITY)
    try:
        limit = int(said)
    except ValueError:
        yield Finding("unknown", CHECK, f"the service's LimitNOFILE={said} is no plain number")
        return
    yield judge(needed, limit, is_service=True)


def judge(needed: int, limit: int, *, is_service: bool) -> Finding:
    """Compare the files needed with the hard limit, to which the daemon raises its own limit at the start."""
    whose = "the service" if is_service else "this shell"
    if limit == resource.RLIM_INFINITY:
        return Finding("fine", CHECK, f"up to {needed:,} files are needed, {whose} has no limit")
    text = f"up to {needed:,} files are needed, {whose} may open {limit:,}"
    if limit >= needed:
        return Finding("fine", CHECK, text)
    if is_service:
        folder = "/etc/systemd/system/streamd.service.d"
        paste: tuple[str, ...] = (
            f"mkdir -p {folder}",
            f"printf '[Service]\\nLimitNOFILE={needed}\\n' > {folder}/60-files.conf",
            "systemctl daemon-reload && systemctl restart streamd.service",
        )
    else:
        paste = (f"ulimit -n {needed}    # as root, in the shell that starts it",)
    return Finding("problem", CHECK, f"{text}: connections will be refused", paste)
