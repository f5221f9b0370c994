"""Who else may change what the daemon runs, or read what it stores."""

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from streamd.config import Loaded
from streamd.host.doctor.finding import Finding
from streamd.host.doctor.host import Host
from streamd.host.notes import python_files

CHECK = "permissions"


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """The state folder, the configuration and the Python files of steps."""
    trusted = {0, os.getuid()}
    if (user := host.service_value("User")) is not None:
        try:
            trusted.add(pwd.getpwnam(user).pw_uid)
        except KeyError:
            yield Finding("problem", CHECK, f"the service's user {user} is not there", ("systemd-sysusers",))
    code = [(file.absolute(), "configuration") for file in loaded.written.files]
    code += [(path, f"Python of {place}") for place, path in python_files(loaded)]
    seen = 0
    for path, what in code:
        try:
            about = path.stat()
        except OSError as error:
            yield Finding("unknown", CHECK, f"{path} ({what}): {error.strerror}")
            continue
        if (finding := judge_code(path, what, about.st_mode, about.st_uid, trusted)) is not None:
            yield finding
        else:
            seen += 1
    if seen == len(code):
        yield Finding("fine", CHECK, "nobody else may change the configuration or the Python it names")
    try:
        mode = loaded.state_dir.stat().st_mode
    except OSError as error:
        yield Finding("unknown", CHECK, f"state folder {loaded.state_dir}: {error.strerror}")
    else:
        yield judge_state_dir(loaded.state_dir, mode)


def judge_code(path: Path, what: str, mode: int, owner: int, trusted: set[int]) -> Finding | None:
    """Whether somebody else may change what decides what the daemon does; None where nobody may."""
    open_to = [name for bit, name in ((stat.S_IWGRP, "its group"), (stat.S_IWOTH, "everybody")) if mode & bit]
    if open_to:
        return Finding(
            "problem",
            CHECK,
            f"{path} ({what}, mode {stat.S_IMODE(mode):04o}) may be changed by {' and '.join(open_to)}:"
            " what is in it runs as the daemon",
            (f"chmod go-w {quote(str(path))}",),
        )
    if owner not in trusted:
        return Finding(
            "problem",
            CHECK,
            f"{path} ({what}) belongs to user {owner}, who may change what runs as the daemon",
            (f"chown root {quote(str(path))}",),
        )
    return None


def judge_state_dir(path: Path, mode: int) -> Finding:
    """The folder of the databases."""
    text = f"state folder {path} has mode {stat.S_IMODE(mode):04o}"
    if mode & stat.S_IWOTH:
        return Finding(
            "problem", CHECK, f"{text}: everybody may put files there", (f"chmod o-w {quote(str(path))}",)
        )
    if mode & stat.S_IXOTH and mode & stat.S_IROTH:
        return Finding(
            "advice",
            CHECK,
            f"{text}: every user may look into it; 0750 keeps it to the group",
            (f"chmod 0750 {quote(str(path))}",),
        )
    return Finding("fine", CHECK, text)
