"""Unix sockets that listen: made with the right permissions, never over a living one, removed at the end."""

import errno
import grp
import os
import socket
import stat
import struct
from pathlib import Path

from streamd.core.errors import EnvironmentFault, Taken
from streamd.core.trial_paths import try_entry

PATH_BYTES = 107
"""The kernel has no room for more."""
CREDENTIALS = struct.Struct("3i")
"""Process, user and group of a sender, as the kernel tells them (`SO_PEERCRED`)."""
_ADVICE = {
    errno.ENOENT: "make its folder (systemd: RuntimeDirectory=)",
    errno.EACCES: "its folder must be writable for this user",
    errno.EROFS: "its folder must be writable for this user (systemd: ReadWritePaths=)",
    errno.ENOTDIR: "what should be its folder is a file: choose another path",
}
_MOVE = "move it away or choose a path"


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
        self._made: tuple[int, int] | None = None
        gid = _admitted(path, kind, group, owner)
        self.socket = socket.socket(socket.AF_UNIX, kind)
        try:
            path.unlink(missing_ok=True)  # a dead process left it
            self.socket.setblocking(False)
            if kind == socket.SOCK_DGRAM:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            # The kernel gives the file the mode of the socket, so at no moment may more people connect than
            # should; the umask may have taken something away, which the second call gives back.
            os.fchmod(self.socket.fileno(), permissions if group is None else permissions & ~0o077)
            self.socket.bind(str(self.path))
            made = self.path.stat()
            self._made = made.st_dev, made.st_ino
            if gid is not None:
                os.chown(self.path, -1, gid)
            self.path.chmod(permissions)
        except OSError as error:
            self.remove()
            self.socket.close()
            raise _refused(path, owner, error) from None

    @staticmethod
    def rehearse(
        path: Path, kind: socket.SocketKind, *, group: str | None, owner: str, made_folder: bool = False
    ) -> None:
        """Raises what making it would, and makes nothing. With `made_folder` its folder is made before.

        A living socket is found in the kernel's list first: a connection would show in its owner's numbers.
        """
        if str(path) in _listed():
            raise _taken(path, owner)
        if made_folder and not path.parent.exists():
            _admitted(path, kind, group, owner)
            return
        try:
            try_entry(path.parent)
        except OSError as error:
            raise _refused(path, owner, error) from None
        _admitted(path, kind, group, owner)

    def remove(self) -> None:
        """Take the path away, unless somebody else has put something there: nobody connects any more."""
        try:
            there = self.path.lstat()
            if (there.st_dev, there.st_ino) == self._made:
                self.path.unlink()
        except OSError:
            return  # gone already, or not ours to remove any more: a dead socket file does no harm


def _admitted(path: Path, kind: socket.SocketKind, group: str | None, owner: str) -> int | None:
    """The number of the group. Raises `EnvironmentFault` where the path, what stands there or the group
    forbid a socket.
    """
    if len(os.fsencode(path)) > PATH_BYTES:
        raise _fault(path, owner, f"its path is longer than {PATH_BYTES} bytes", "choose a shorter one")
    gid = None if group is None else _gid(group, path, owner)
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise _fault(path, owner, "something that is no socket stands there", _MOVE)
        if _is_alive(path, kind):
            raise _taken(path, owner)
        try_entry(path.parent)  # a dead one is removed
        _try_unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _refused(path, owner, error) from None
    return gid


def _gid(group: str, path: Path, owner: str) -> int:
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        advice = "getent group shows those there are"
        raise _fault(path, owner, f"there is no group {group!r}", advice) from None
    if os.geteuid() != 0 and gid not in (os.getegid(), *os.getgroups()):
        advice = "only root gives a file to a group it is not in; join it (systemd: SupplementaryGroups=)"
        raise _fault(path, owner, f"this user is not in the group {group!r}", advice)
    return gid


def _is_alive(path: Path, kind: socket.SocketKind) -> bool:
    """Whether somebody answers there. Raises `OSError` where that cannot be found out."""
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True  # somebody listens, with a full backlog
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:  # somebody listens, with the other kind of socket
                raise
    return True


def _try_unlink(path: Path) -> None:
    """Raises `OSError` where a folder with the sticky bit (/tmp) keeps others from removing the file."""
    folder, file, user = path.parent.stat(), path.lstat(), os.geteuid()
    if folder.st_mode & stat.S_ISVTX and user not in (0, folder.st_uid, file.st_uid):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def _refused(path: Path, owner: str, error: OSError) -> EnvironmentFault:
    if error.errno == errno.EADDRINUSE:
        return Taken(
            _text(path, owner, str(error.strerror), "another process makes it too"), "unix", str(path)
        )
    return _fault(path, owner, str(error.strerror), _ADVICE.get(error.errno or 0, "check the path"))


def _taken(path: Path, owner: str) -> Taken:
    what, advice = "it is taken", "is another streamd running? (ss -lxp shows who has it)"
    return Taken(_text(path, owner, what, advice), "unix", str(path))


def _listed() -> set[str]:
    """The paths of all bound sockets, as the kernel lists them."""
    try:
        lines = Path("/proc/self/net/unix").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return set()
    return {line[line.index(" /") + 1 :] for line in lines if " /" in line}


def _fault(path: Path, owner: str, what: str, advice: str) -> EnvironmentFault:
    return EnvironmentFault(_text(path, owner, what, advice))


def _text(path: Path, owner: str, what: str, advice: str) -> str:
    return f"{owner}: cannot listen on {path}: {what}: {advice}"
