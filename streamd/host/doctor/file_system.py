"""Checks whether SQLite's write-ahead log works on the file systems of the databases, and whether these are
kept over a reboot.
"""

from collections.abc import Iterator
from pathlib import Path

from streamd.config import Loaded
from streamd.host.doctor.disk_space import existing
from streamd.host.doctor.finding import Finding
from streamd.host.doctor.host import Host
from streamd.host.rehearsal import outputs

CHECK = "file_system"
_NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs",
     "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs", "vboxsf", "virtiofs"}
)  # fmt: skip
_MEMORY = frozenset({"ramfs", "tmpfs"})


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """One finding for each folder with outputs."""
    mounts = host.text("/proc/self/mountinfo")
    for folder in dict.fromkeys(existing(path).resolve() for _, path in outputs(loaded)):
        yield judge(folder, type_of(folder, mounts or ""))


def judge(folder: Path, kind: str | None) -> Finding:
    """Judge a type of file system by the kernel's name for it. None is an unknown type."""
    if kind is None:
        return Finding("unknown", CHECK, f"the type of the file system of {folder} cannot be read here")
    text = f"{folder} is on {kind}"
    if kind in _NETWORK:
        return Finding(
            "problem",
            CHECK,
            f"{text}, a network file system: SQLite's write-ahead log needs the shared memory of one host;"
            " name a folder on a local disk ([daemon] state_dir)",
        )
    if kind in _MEMORY:
        return Finding("advice", CHECK, f"{text}, which is in memory: its files are lost at a reboot")
    if kind == "overlay":
        return Finding(
            "advice", CHECK, f"{text}: a container's files are deleted with it; mount a volume there"
        )
    return Finding("fine", CHECK, text)


def type_of(folder: Path, mountinfo: str) -> str | None:
    """The type of the folder's file system, from the last of the longest mount points above it, or None."""
    best: tuple[int, str | None] = (0, None)
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) > 4 and kinds:  # noqa: PLR2004 - field 4 is the mount point, see proc(5)
            point = fields[4].replace("\\040", " ")
            if folder.is_relative_to(point) and len(point) >= best[0]:
                best = len(point), kinds[0]
    return best[1]
