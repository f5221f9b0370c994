"""The Unix socket of a source, where its configuration says."""

import os
import socket
from pathlib import Path
from typing import Any

from streamd.core.contracts import SourceContext
from streamd.service import unix_socket
from streamd.service.unix_socket import CREDENTIALS

__all__ = ["CREDENTIALS", "UnixSocket", "path_of", "peer_text"]


def path_of(config: Any, context: SourceContext) -> str:
    """The absolute path of the socket, links in it as they are written."""
    path: str = config.path
    return os.path.abspath(context.state_dir / path)  # noqa: PTH100 - pathlib's would follow links


def peer_text(credentials: bytes) -> str:
    """`pid=123,uid=1000,gid=1000` of what the kernel says of a sender."""
    return "pid={},uid={},gid={}".format(*CREDENTIALS.unpack(credentials[: CREDENTIALS.size]))


class UnixSocket(unix_socket.UnixSocket):
    """The same, made as the source's own settings say."""

    def __init__(self, config: Any, context: SourceContext, kind: socket.SocketKind) -> None:
        super().__init__(
            Path(path_of(config, context)),
            kind,
            permissions=int(config.permissions, 8),
            group=config.group,
            owner=f"source {context.name}",
        )


def rehearse(config: Any, context: SourceContext, kind: socket.SocketKind) -> None:
    """Raises what making the socket would, and makes nothing."""
    unix_socket.UnixSocket.rehearse(
        Path(path_of(config, context)), kind, group=config.group, owner=f"source {context.name}"
    )
