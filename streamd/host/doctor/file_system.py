"""Whether SQLite's write-ahead log works where the databases are, and whether they outlive a restart."""

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
    """`kind` as the kernel calls it; None where it is not known."""
    if kind is None:
        return Finding("unknown", CHECK, f"of what type the file system of {folder} is cannot be read here")
    text = f"{folder} is on {kind}"
    if kind in _NETWORK:
        return Finding(
            "problem",
            CHECK,
            f"{text}, a network file system: SQLite's write-ahead log needs memory shared on one host;"
            " name a folder on a local disk ([daemon] state_dir)",
        )
    if kind in _MEMORY:
        return Finding("advice", CHECK, f"{text}: it is memory, and gone when this host stops")
    if kind == "overlay":
        return Finding("advice", CHECK, f"{text}: in a container that goes with it; mount a volume there")
    return Finding("fine", CHECK, text)


def type_of(folder: Path, mountinfo: str) -> str | None:
    """Its type, by the last and longest mount point above the folder."""
    best: tuple[int, str | None] = (0, None)
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) > 4 and kinds:  # noqa: PLR2004 - where proc(5) has the mount point
            point = fields[4].replace("\\040", " ")
            if folder.is_relative_to(point) and len(point) >= best[0]:
                best = len(point), kinds[0]
    return best[1]
