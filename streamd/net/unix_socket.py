"""Bound unix sockets: made with the right permissions, never in place of one in use, removed at the end."""

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
"""Longest path of a unix socket in bytes (`sun_path` without its NUL)."""
CREDENTIALS = struct.Struct("3i")
"""`struct ucred`: pid, uid and gid of a sender, as the kernel reports them (`SO_PEERCRED`)."""
_ADVICE = {
    errno.ENOENT: "make its folder (systemd: RuntimeDirectory=)",
    errno.EACCES: "its folder must be writable for this user",
    errno.EROFS: "its folder must be writable for this user (systemd: ReadWritePaths=)",
    errno.ENOTDIR: "a part of its folder's path is a file: choose another path",
}
_MOVE = "move it away or choose a path"


class UnixSocket:
    """A bound, non-blocking socket in the file system, with `permissions` and, if given, a `group`.

    The socket file of a dead process is replaced. Raises `EnvironmentFault` if a process listens on the
    path, if the path holds a file of another kind, or if the socket cannot be made. The texts begin with
    `owner`.
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
            path.unlink(missing_ok=True)  # left by a dead process
            self.socket.setblocking(False)
            if kind == socket.SOCK_DGRAM:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            # The kernel gives the new file the socket's mode, so that no user outside `permissions` can
            # connect at any moment. The umask may have removed bits, which the chmod below restores.
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
        """Raise what making the socket would, and make nothing.

        `made_folder`: the daemon makes the folder first, so it need not exist. A socket in use is looked up
        in the kernel's list first, because a probe connection would be counted by its owner.
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
        """Remove the socket's file, so that no client connects any more. A replaced file stays."""
        try:
            there = self.path.lstat()
            if (there.st_dev, there.st_ino) == self._made:
                self.path.unlink()
        except OSError:
            return  # the file is gone or may not be removed; a dead socket file does no harm


def _admitted(path: Path, kind: socket.SocketKind, group: str | None, owner: str) -> int | None:
    """Check the path and the group, and return the group's number. Raises `EnvironmentFault`."""
    if len(os.fsencode(path)) > PATH_BYTES:
        raise _fault(path, owner, f"its path is longer than {PATH_BYTES} bytes", "choose a shorter one")
    gid = None if group is None else _gid(group, path, owner)
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise _fault(path, owner, "there is a file that is no socket", _MOVE)
        if _is_alive(path, kind):
            raise _taken(path, owner)
        try_entry(path.parent)  # the file of a dead process will be removed
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
    """Whether a process listens on the path. Raises `OSError` if that cannot be found out."""
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True  # a process listens, with a full backlog
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:  # a process listens, with the other kind of socket
                raise
    return True


def _try_unlink(path: Path) -> None:
    """Raise `OSError` if the folder's sticky bit (as on /tmp) keeps this user from removing the file."""
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
