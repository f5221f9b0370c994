from pathlib import Path

import pytest

from streamd.cli._past import read
from streamd.core.errors import EnvironmentFault


def test_the_result_of_a_benchmark_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_bytes(b"{}\n")
    assert read(str(tmp_path / "bench.json")) == b"{}\n"


@pytest.mark.parametrize(("name", "why"), [("none.json", "No such file"), ("", "Is a directory")])
def test_a_file_that_cannot_be_read_is_named(name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=f"cannot read {tmp_path / name}: {why}"):
        read(str(tmp_path / name))
