"""The installed service. `check` uses it to test a configuration with the service's rights, not with root's.

`check` runs itself again as the service's user, in its own mount namespace with the sandbox of the unit, so
that the kernel grants and refuses the same as for the service. Nothing outside of that process changes.
"""

import ctypes
import grp
import os
import pwd
import shlex
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from streamd.core.errors import EnvironmentFault
from streamd.host import units
from streamd.host.doctor.host import Host

_INSIDE = "STREAMD_CHECKS_AS_SERVICE"
_DYNAMIC_UID = 61184
"""The first user id that `DynamicUser=` assigns."""
_HOMES = ("/home", "/root", "/run/user")
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - mounted over, in the process's own namespace
_READ_ONLY = {
    "strict": ("/",), "full": ("/usr", "/boot", "/efi", "/etc"), "yes": ("/usr", "/boot", "/efi"),
}  # fmt: skip
_YES = ("yes", "true", "on", "1")

# From <linux/mount.h>, <sched.h>, <linux/prctl.h> and <linux/capability.h>.
_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_SYS_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1
_PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 8, 47, 2
_CAP_VERSION = 0x20080522
_CAPABILITIES = {
    "CAP_DAC_OVERRIDE": 1, "CAP_DAC_READ_SEARCH": 2, "CAP_NET_BIND_SERVICE": 10, "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
}  # fmt: skip


def is_inside() -> bool:
    """Whether `check_inside` started this process."""
    return _INSIDE in os.environ


def installed(config_path: Path) -> "Service | None":
    """The installed service that runs the configuration, or None."""
    host = Host(config_path)
    return Service(host) if host.is_service else None


class Service:
    """The service, as its unit and drop-ins define it."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def set_folders(self) -> None:
        """Set the environment variables from which the configuration of the service takes its defaults."""
        os.environ.setdefault("STATE_DIRECTORY", str(units.STATE_DIR))
        os.environ.setdefault("RUNTIME_DIRECTORY", str(units.RUNTIME_DIR))

    def is_on(self, key: str) -> bool:
        """Whether the unit sets the key to yes."""
        return (self._host.service_value(key) or "") in _YES

    def has_credential(self, name: str) -> bool:
        """Whether the unit passes a credential of that name to the service."""
        keys = ("LoadCredential", "LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted")
        given = (value for key in keys for value in self._words(key))
        return any(value.partition(":")[0] == name for value in given)

    def refuse_private(self, owner: str, path: str) -> None:
        """Raises `EnvironmentFault` for a path that only the service can see, where no sender reaches it."""
        hidden = [folder for folder in _TEMPORARY if path.startswith(f"{folder}/")]
        if hidden and self.is_on("PrivateTmp"):
            raise EnvironmentFault(
                f"{owner}: PrivateTmp= of {units.SERVICE.name} gives the service its own {hidden[0]}, so no"
                f" other program can reach {path}; choose another folder"
            )

    def hint(self, refusal: str) -> str:
        """The text to add to a refusal that a setting of the unit may explain, else empty."""
        if "Read-only file system" in refusal and _plain(self._host.service_value("ProtectSystem")):
            return (
                f"; ProtectSystem= of {units.SERVICE.name} lets the service write only to its own folders and"
                " to ReadWritePaths=, which `streamd install-service` sets for this configuration"
            )
        if "Permission denied" in refusal and not is_inside() and os.geteuid() != 0:
            return "; run as root, `streamd check` tries the file as the service's user"
        if self._host.service_value("ProtectHome") in _YES:
            hidden = [folder for folder in _HOMES if f" {folder}/" in f" {refusal}"]
            if hidden and "Permission denied" in refusal:
                return f"; ProtectHome= of {units.SERVICE.name} hides {hidden[0]}: move the file elsewhere"
        return ""

    def check_inside(self, arguments: Sequence[str]) -> int:
        """Run `check` as the service's user in its sandbox. Returns its exit code.

        Raises `EnvironmentFault` if the process cannot be started.
        """
        uid, gid, groups = self._user()
        started = shlex.split((self._host.service_value("ExecStart") or "").lstrip("@-:+!"))[:1]
        python = started[0] if started and Path(started[0]).exists() else sys.executable
        environ = {**os.environ, **dict(self._environment()), _INSIDE: "1"}
        folder = units.STATE_DIR if units.STATE_DIR.is_dir() else Path("/")
        sys.stdout.flush()

        def become() -> None:
            try:
                self._enter_sandbox()
            except OSError as error:
                os.write(2, f"note: tried without the sandbox of the unit ({error.strerror})\n".encode())
            self._become(uid, gid, groups)

        words = [python, "-I", "-m", "streamd", "check", *arguments]
        try:
            done = subprocess.run(words, check=False, env=environ, cwd=folder, preexec_fn=become)  # noqa: S603 - there are no threads
        except (OSError, subprocess.SubprocessError) as error:
            raise EnvironmentFault(f"cannot run {python} as the user of streamd.service: {error}") from None
        return done.returncode

    def _user(self) -> tuple[int, int, list[int]]:
        name, group = self._host.service_value("User"), self._host.service_value("Group")
        groups = [grp.getgrnam(word).gr_gid for word in self._words("SupplementaryGroups") if _is_group(word)]
        try:
            known = pwd.getpwnam(name) if name else pwd.getpwuid(-1 if self.is_on("DynamicUser") else 0)
        except (KeyError, OverflowError):
            if not self.is_on("DynamicUser"):
                raise EnvironmentFault(
                    f"the user {name!r} of {units.SERVICE.name} does not exist: run `systemd-sysusers`"
                ) from None
            owner = units.STATE_DIR.stat().st_uid if units.STATE_DIR.exists() else _DYNAMIC_UID
            return owner, owner, groups
        gid = grp.getgrnam(group).gr_gid if group and _is_group(group) else known.pw_gid
        return known.pw_uid, gid, [*os.getgrouplist(known.pw_name, gid), *groups]

    def _words(self, key: str) -> list[str]:
        """The words of all lines of a key. An empty line removes the words before it, as in systemd."""
        found: list[str] = []
        for value in self._host.service_values(key):
            found = [*found, *shlex.split(value)] if value else []
        return found

    def _environment(self) -> Iterator[tuple[str, str]]:
        for word in self._words("Environment"):
            name, is_set, value = word.partition("=")
            if is_set:
                yield name, value

    def _enter_sandbox(self) -> None:
        """Enter a mount namespace that shows the file system as the unit shows it to the service."""
        _call("unshare", _CLONE_NEWNS)
        _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
        read_only = _READ_ONLY.get(_plain(self._host.service_value("ProtectSystem")), ())
        own = (units.STATE_DIR, units.RUNTIME_DIR, Path("/dev"))
        writable = [path for path in (*own, *self._paths("ReadWritePaths")) if path.exists()]
        for path in writable:
            _bind(path)
        for folder in (*map(Path, read_only), *self._paths("ReadOnlyPaths")):
            if folder.exists():
                if folder != Path("/"):
                    _bind(folder)
                _set_read_only(folder, on=True)
        for path in writable:
            _set_read_only(path, on=False)
        if self.is_on("PrivateTmp"):
            _cover(_TEMPORARY, "mode=1777")
        self._hide_homes(_plain(self._host.service_value("ProtectHome")))
        _cover(map(str, self._paths("InaccessiblePaths")), "mode=000")

    def _hide_homes(self, how: str) -> None:
        if how == "read-only":
            for folder in map(Path, _HOMES):
                if folder.exists():
                    _bind(folder)
                    _set_read_only(folder, on=True)
        elif how:
            _cover(_HOMES, "mode=755" if how == "tmpfs" else "mode=000")

    def _paths(self, key: str) -> list[Path]:
        """The paths of a key. Paths with specifiers are left out, because only systemd can expand them."""
        words = (word.lstrip("-+") for word in self._words(key))
        return [Path(word) for word in words if word.startswith("/") and "%" not in word]

    def _become(self, uid: int, gid: int, groups: Sequence[int]) -> None:
        named = {word.upper() for word in self._words("AmbientCapabilities")}
        bounds = self._host.service_values("CapabilityBoundingSet")
        kept = [number for name, number in _CAPABILITIES.items() if name in named]
        if self.is_on("PrivateUsers") or (bounds and not self._words("CapabilityBoundingSet")):
            kept = []  # they apply only in the service's own user namespace, or the bounding set removes them
        _call("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setgroups(list(dict.fromkeys(groups)))
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        os.umask(0o027)
        if uid == 0:
            return
        mask = sum(1 << number for number in kept)
        _call("capset", struct.pack("=Ii", _CAP_VERSION, 0), struct.pack("=6I", mask, mask, mask, 0, 0, 0))
        for number in kept:
            _call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0)


def _plain(value: str | None) -> str:
    return "yes" if value in _YES else value or ""


def _is_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _call(name: str, *arguments: int | bytes | None) -> None:
    """Call a function of the C library. Raises `OSError` if it does not return 0."""
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    if getattr(libc, name)(*words):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _bind(path: Path) -> None:
    """Make the path its own mount, so that it can have its own attributes."""
    name = os.fsencode(path)
    _call("mount", name, name, None, _MS_BIND | _MS_REC, None)


def _set_read_only(path: Path, *, on: bool) -> None:
    attributes = (_MOUNT_ATTR_RDONLY, 0) if on else (0, _MOUNT_ATTR_RDONLY)
    packed = struct.pack("=4Q", *attributes, 0, 0)
    _call("syscall", _SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), _AT_RECURSIVE, packed, len(packed))


def _cover(folders: Iterator[str] | Sequence[str], options: str) -> None:
    """Mount an empty folder over each existing folder."""
    for folder in folders:
        if os.path.isdir(folder):  # noqa: PTH112 - False, not an error, without permission
            _call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size=64k,{options}".encode())
