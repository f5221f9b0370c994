"""Checks whose the control socket is, who may use it, and whether a daemon answers there."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from streamd.admin.client import place_of, plain
from streamd.admin.status_answer import fetch
from streamd.config import Loaded
from streamd.core.errors import EnvironmentFault
from streamd.host.doctor.finding import Finding
from streamd.host.doctor.host import Host

CHECK = "control_socket"


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """One finding. Waits at most 3 s for an answer."""
    path = place_of(loaded.path, loaded.config.daemon, loaded.config.control)
    if path is None:
        yield Finding("fine", CHECK, "control.path turns the control socket off")
        return
    try:
        about = path.stat()
    except FileNotFoundError:
        yield Finding("unknown", CHECK, f"{path} does not exist: no daemon runs on this configuration")
        return
    except OSError as error:
        yield Finding("unknown", CHECK, f"{path}: {error.strerror}")
        return
    trusted = {0, os.getuid()} if host.service_uid is None else {0, os.getuid(), host.service_uid}
    yield judge_file(path, about.st_mode, about.st_uid, trusted) or _asked(path, loaded.path)


def judge_file(path: Path, mode: int, owner: int, trusted: set[int]) -> Finding | None:
    """A finding if the path is no socket, or one with which another user could harm the daemon, else None."""
    if not stat.S_ISSOCK(mode):
        text = f"{path} is no socket, so no daemon can listen there"
        return Finding("problem", CHECK, text, (f"ls -ld {quote(str(path))}",))
    if owner not in trusted:
        return Finding(
            "problem",
            CHECK,
            f"{path} belongs to user {owner}, who can answer in the place of the daemon",
            (f"rm {quote(str(path))}",),
        )
    if mode & stat.S_IWOTH:
        return Finding(
            "problem",
            CHECK,
            f"{path} has mode {stat.S_IMODE(mode):04o}: every user can reload the daemon and see its records",
            (f"chmod o-w {quote(str(path))}",),
        )
    return None


def _asked(path: Path, config: Path) -> Finding:
    """A finding on the answer of the daemon."""
    try:
        status, _ = fetch(path)
    except EnvironmentFault as fault:
        return judge_fault(path, fault)
    if plain(status.config) != plain(config):
        return Finding("advice", CHECK, f"the daemon that answers at {path} runs on {status.config}")
    return Finding("fine", CHECK, f"streamd {status.version} answers at {path}")


def judge_fault(path: Path, fault: EnvironmentFault) -> Finding:
    """Judge why no daemon answered."""
    match fault.__cause__:
        case ConnectionRefusedError():
            text = f"{path} was left behind by a daemon that did not end properly; the next start replaces it"
            return Finding("advice", CHECK, text)
        case PermissionError():
            return Finding("unknown", CHECK, str(fault))
    return Finding("problem", CHECK, str(fault))
