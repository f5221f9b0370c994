from pathlib import Path

import pytest

from streamd.bench.chain import STEPS
from streamd.bench.daemon import Setup
from streamd.bench.row import BenchError
from streamd.bench.tcp import sent

COUNT = 2000


@pytest.mark.parametrize("steps", ["", STEPS])
def test_every_record_sent_is_stored_and_its_cpu_is_measured(tmp_path: Path, steps: str) -> None:
    daemon, cpu_s, records_per_s = sent(tmp_path, Setup(steps=steps), COUNT)
    assert daemon.process.returncode == 0
    assert cpu_s > 0
    assert records_per_s > 0


def test_a_run_in_which_a_record_is_filtered_out_is_no_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamd.bench.daemon._STALL_S", 1.0)
    without_one = '[[pipelines.bench.steps]]\ntype = "filter"\nwhere = "seq != 7"\n'
    with pytest.raises(BenchError, match=r"2000 sent; rows, distinct seqs, first and last seq are \(1999"):
        sent(tmp_path, Setup(steps=without_one), COUNT)
