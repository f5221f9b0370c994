from pathlib import Path

import pytest

from streamd.host.doctor.file_system import judge, type_of

MOUNTINFO = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /srv rw,relatime shared:9 master:2 - nfs4 server:/export rw
31 30 0:41 / /srv/local\040disk rw - xfs /dev/sdb1 rw
32 22 0:42 / /srvother rw - btrfs /dev/sdc1 rw
broken line
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/srv", "nfs4"),
        ("/srv/data", "nfs4"),
        ("/srv/local disk/db", "xfs"),
        ("/srvother", "btrfs"),
    ],
)
def test_the_longest_mount_point_above_a_folder_tells_its_type(folder: str, kind: str) -> None:
    assert type_of(Path(folder), MOUNTINFO) == kind


@pytest.mark.parametrize(
    ("kind", "severity"),
    [("nfs4", "problem"), ("tmpfs", "advice"), ("overlay", "advice"), ("ext4", "fine"), (None, "unknown")],
)
def test_network_file_systems_have_no_write_ahead_log(kind: str | None, severity: str) -> None:
    assert judge(Path("/srv"), kind).severity == severity


def test_without_a_table_the_type_is_not_known() -> None:
    assert type_of(Path("/srv"), "") is None
