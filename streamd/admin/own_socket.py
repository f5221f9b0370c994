"""The unix sockets that the daemon makes for its own requests: the control socket, and the admin address."""

import os
import socket
from contextlib import suppress
from pathlib import Path

from streamd.core.errors import Taken
from streamd.core.trial_paths import try_folder
from streamd.net.unix_socket import PATH_BYTES, UnixSocket


def short(path: Path) -> Path:
    """The path, or if it is too long for a Unix socket, the path relative to the current folder."""
    return path if len(os.fsencode(path)) <= PATH_BYTES else Path(os.path.relpath(path))


def make(path: Path, group: str | None, owner: str) -> UnixSocket:
    """The bound socket in its folder, which is made. Raises `EnvironmentFault`.

    This user may use it, and so may `group`; under systemd the group of the unit.
    """
    made_by_systemd = "RUNTIME_DIRECTORY" in os.environ
    with suppress(OSError):  # the socket below reports the fault
        path.parent.mkdir(parents=True, exist_ok=True)
    return UnixSocket(
        short(path),
        socket.SOCK_STREAM,
        permissions=0o660 if group is not None or made_by_systemd else 0o600,
        group=group,
        owner=owner,
    )


def rehearse(path: Path, group: str | None, owner: str) -> None:
    """Raises the errors that `make` would raise, and makes nothing."""
    try:
        try_folder(path.parent)
        can_make_folder = True
    except OSError:  # the socket below reports the fault
        can_make_folder = False
    try:
        UnixSocket.rehearse(
            short(path), socket.SOCK_STREAM, group=group, owner=owner, made_folder=can_make_folder
        )
    except Taken as taken:
        raise Taken(str(taken), "unix", str(path)) from None
