from pathlib import Path

import pytest

from streamd import config
from streamd.host.units import outside


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("/data/lake/day=%Y-%m-%d/hour=%H/x.parquet", "/data/lake"),
        ("/data/lake/x-%Y.parquet", "/data/lake"),
        ("lake/%Y/x.parquet", None),
    ],
)
def test_a_unit_may_write_to_the_folder_above_dated_ones(
    tmp_path: Path, path: str, folder: str | None
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(
        '[sources.in]\ntype = "udp"\nlisten = "127.0.0.1:0"\n'
        '[pipelines.main]\nsources = ["in"]\nsinks = ["out"]\n'
        f'[sinks.out]\ntype = "parquet"\npath = "{path}"\n'
    )
    assert outside(config.load(file).config) == ([] if folder is None else [Path(folder)])
