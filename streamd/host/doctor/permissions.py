"""Checks which other users may change the daemon's configuration and code, or read its data."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from streamd.config import Loaded
from streamd.host.doctor.finding import Finding
from streamd.host.doctor.host import Host
from streamd.host.step_files import python_files

CHECK = "permissions"


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """Findings on the configuration, the Python files of steps and the state folder."""
    trusted = {0, os.getuid()}
    if host.service_uid is not None:
        trusted.add(host.service_uid)
    elif (user := host.service_value("User")) is not None:
        yield Finding("problem", CHECK, f"the service's user {user} does not exist", ("systemd-sysusers",))
    code = [(file.absolute(), "configuration") for file in loaded.written.files]
    code += [(path, f"Python of {place}") for place, path in python_files(loaded)]
    seen = 0
    for path, content in code:
        try:
            about = path.stat()
        except OSError as error:
            yield Finding("unknown", CHECK, f"{path} ({content}): {error.strerror}")
            continue
        if (finding := judge_code(path, content, about.st_mode, about.st_uid, trusted)) is not None:
            yield finding
        else:
            seen += 1
    if seen == len(code):
        yield Finding("fine", CHECK, "no other user may change the configuration or its Python files")
    try:
        mode = loaded.state_dir.stat().st_mode
    except FileNotFoundError:
        yield Finding(
            "unknown", CHECK, f"state folder {loaded.state_dir} does not exist yet: the first start makes it"
        )
    except OSError as error:
        yield Finding("unknown", CHECK, f"state folder {loaded.state_dir}: {error.strerror}")
    else:
        yield judge_state_dir(loaded.state_dir, mode)


def judge_code(path: Path, content: str, mode: int, owner: int, trusted: set[int]) -> Finding | None:
    """A finding if another user may change a file of configuration or code, else None."""
    open_to = [
        name for bit, name in ((stat.S_IWGRP, "its group"), (stat.S_IWOTH, "every user")) if mode & bit
    ]
    if open_to:
        return Finding(
            "problem",
            CHECK,
            f"{path} ({content}, mode {stat.S_IMODE(mode):04o}) can be changed by {' and '.join(open_to)}:"
            " its content decides what runs as the daemon",
            (f"chmod go-w {quote(str(path))}",),
        )
    if owner not in trusted:
        return Finding(
            "problem",
            CHECK,
            f"{path} ({content}) belongs to user {owner}, who can change what runs as the daemon",
            (f"chown root {quote(str(path))}",),
        )
    return None


def judge_state_dir(path: Path, mode: int) -> Finding:
    """Judge the mode of the state folder, which contains the databases."""
    text = f"state folder {path} has mode {stat.S_IMODE(mode):04o}"
    if mode & stat.S_IWOTH:
        return Finding(
            "problem", CHECK, f"{text}: every user can create files there", (f"chmod o-w {quote(str(path))}",)
        )
    if mode & stat.S_IXOTH and mode & stat.S_IROTH:
        return Finding(
            "advice",
            CHECK,
            f"{text}: every user can read it; 0750 limits it to the group",
            (f"chmod 0750 {quote(str(path))}",),
        )
    return Finding("fine", CHECK, text)
