"""A disk that is really full or read-only: no file is torn, and nothing is lost or stored twice."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, subprocess, sys
from pathlib import Path
from pyarrow import parquet as pq
from streamd.core.batch import Batch
from streamd.core.shared import Shared
from streamd.core.contracts import SinkContext
from streamd.core.errors import SinkError
from streamd.sinks.parquet import Parquet

folder, reason, mend = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
text = "".join(map(chr, range(33, 126)))


async def main():
    columns = {"a": "int", "b": "str"}
    config = Parquet.Config(
        type="parquet", path="x.parquet", columns=columns, compression="none", retention={"min_free": "0B"}
    )
    sink = Parquet(config, SinkContext("s", {}, folder, None, Shared()))
    await sink.open()
    if reason == "readonly":
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    stored = faults = 0
    while not faults:
        records = [{"a": stored + i, "b": f"{stored + i} {text}"} for i in range(2000)]
        batches = [Batch.of(records, "lab", "p", "p", 0.0)]
        while True:
            try:
                await sink.write(batches)
                break
            except SinkError as error:
                assert error.reason == reason, error
                assert not list(folder.glob(".*")), "half a file stays"
                faults += 1
                if faults == 3:
                    subprocess.run(mend, check=True)
        stored += 2000
    assert faults == 3, faults
    await sink.close()
    rows = [a for path in folder.glob("*.parquet") for a in pq.ParquetFile(path).read()["a"].to_pylist()]
    assert sorted(rows) == list(range(stored))
    print("stored", stored)


asyncio.run(main())
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root to mount a tmpfs"
)
@pytest.mark.parametrize(
    ("reason", "mend"), [("disk_full", "rm DISK/ballast"), ("readonly", "mount -o remount,rw DISK")]
)
def test_a_disk_that_takes_no_file_tears_none_and_the_sink_goes_on_later(
    tmp_path: Path, reason: str, mend: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        f"mount -t tmpfs -o size=3m tmpfs {disk} && head -c 1000000 /dev/zero > {disk}/ballast"
        f" && exec {sys.executable} {program} {disk} {reason} {mend.replace('DISK', str(disk))}"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "stored" in done.stdout
