"""The unix socket of a source, made from its configuration."""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamd.core.contracts import SourceContext
from streamd.core.peer import Peer
from streamd.core.trial_paths import try_folder
from streamd.net import unix_socket
from streamd.net.unix_socket import CREDENTIALS

__all__ = ["CREDENTIALS", "SourceUnixSocket", "path_of", "peer_of"]


def path_of(config: Any, context: SourceContext) -> str:
    """The absolute path of the socket, without following links."""
    path: str = config.path
    return os.path.abspath(context.state_dir / path)  # noqa: PTH100 - pathlib's would follow links


def peer_of(credentials: bytes) -> Peer:
    """`pid=123,uid=1000,gid=1000`, from the credentials that the kernel reports for a sender."""
    return Peer("pid={},uid={},gid={}".format(*CREDENTIALS.unpack(credentials[: CREDENTIALS.size])))


class SourceUnixSocket(unix_socket.UnixSocket):
    """A unix socket with the path, permissions and group of a source's settings."""

    def __init__(self, config: Any, context: SourceContext, kind: socket.SocketKind) -> None:
        path = Path(path_of(config, context))
        if _is_in_state_dir(path, context):
            with suppress(OSError):  # binding the socket raises the error with advice
                path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(
            path,
            kind,
            permissions=int(config.permissions, 8),
            group=config.group,
            owner=f"source {context.name}",
        )


def rehearse(config: Any, context: SourceContext, kind: socket.SocketKind) -> None:
    """Raise what making the socket would, and make nothing."""
    path = Path(path_of(config, context))
    can_make_folder = _is_in_state_dir(path, context)
    if can_make_folder:
        try:
            try_folder(path.parent)
        except OSError:
            can_make_folder = False
    unix_socket.UnixSocket.rehearse(
        path, kind, group=config.group, owner=f"source {context.name}", made_folder=can_make_folder
    )


def _is_in_state_dir(path: Path, context: SourceContext) -> bool:
    """Whether the socket's folder is `state_dir`, which the daemon makes itself."""
    return str(path.parent) == os.path.abspath(context.state_dir)  # noqa: PTH100 - as `path_of`
