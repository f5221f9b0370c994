"""Unix sockets that listen: made with the right permissions, never over a living one, removed at the end."""

import errno
import grp
import os
import socket
import stat
import struct
from pathlib import Path

from streamd.core.errors import EnvironmentFault

PATH_BYTES = 107
"""The kernel has no room for more."""
CREDENTIALS = struct.Struct("3i")
"""Process, user and group of a sender, as the kernel tells them (`SO_PEERCRED`)."""
_ADVICE = {
    errno.ENOENT: "make its folder (systemd: RuntimeDirectory=)",
    errno.EACCES: "its folder must be writable for this user",
    errno.EROFS: "its folder must be writable for this user",
}


class UnixSocket:
    """A bound, non-blocking socket in the file system.

    Raises `EnvironmentFault` where the path is taken or cannot be made. What a dead process left there is
    replaced; a socket somebody answers on, and anything that is no socket, is left alone. Given a `group`
    it may use the socket as `permissions` say. `owner` is named in faults.
    """

    def __init__(
        self, path: Path, kind: socket.SocketKind, *, permissions: int, group: str | None, owner: str
    ) -> None:
        self.path = path
        self._owner = owner
        if len(os.fsencode(self.path)) > PATH_BYTES:
            raise self._fault(f"its path is longer than {PATH_BYTES} bytes", "choose a shorter one")
        self._made: tuple[int, int] | None = None
        self._clear(kind)
        self.socket = socket.socket(socket.AF_UNIX, kind)
        try:
            self.socket.setblocking(False)
            if kind == socket.SOCK_DGRAM:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            # The kernel gives the file the mode of the socket, so at no moment may more people connect than
            # should; the umask may have taken something away, which the second call gives back.
            os.fchmod(self.socket.fileno(), permissions if group is None else permissions & ~0o077)
            self.socket.bind(str(self.path))
            made = self.path.stat()
            self._made = made.st_dev, made.st_ino
            if group is not None:
                os.chown(self.path, -1, grp.getgrnam(group).gr_gid)
            self.path.chmod(permissions)
        except KeyError:
            self.remove()
            self.socket.close()
            raise self._fault(f"there is no group {group!r}", "getent group shows those there are") from None
        except OSError as error:
            self.remove()
            self.socket.close()
            taken = error.errno == errno.EADDRINUSE
            advice = (
                "another process makes it too" if taken else _ADVICE.get(error.errno or 0, "check the path")
            )
            raise self._fault(str(error.strerror), advice) from None

    def remove(self) -> None:
        """Take the path away, unless somebody else has put something there: nobody connects any more."""
        try:
            there = self.path.lstat()
            if (there.st_dev, there.st_ino) == self._made:
                self.path.unlink()
        except OSError:
            return  # gone already, or not ours to remove any more: a dead socket file does no harm

    def _clear(self, kind: socket.SocketKind) -> None:
        try:
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                raise self._fault("something that is no socket stands there", "move it away or choose a path")
            with socket.socket(socket.AF_UNIX, kind) as probe:
                probe.setblocking(False)
                probe.connect(str(self.path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            self.path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # somebody listens, with a full backlog
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:  # else somebody listens, with the other kind of socket
                raise self._fault(
                    str(error.strerror), _ADVICE.get(error.errno or 0, "check the path")
                ) from None
        raise self._fault("it is taken", "is another streamd running? (ss -lxp shows who has it)")

    def _fault(self, what: str, advice: str) -> EnvironmentFault:
        return EnvironmentFault(f"{self._owner}: cannot listen on {self.path}: {what}: {advice}")
