import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.peers.window_records import RECORDS_A_SECOND, WINDOW_S, by_hand
from tests.bench.peers.windows import SYSTEMS, NoFigure, System, measure, python_of, table

OURS = [system for system in SYSTEMS if system.package is None]
COUNT = int(RECORDS_A_SECOND * WINDOW_S) + 30_000


@pytest.mark.parametrize("system", OURS, ids=lambda system: system.script)
def test_our_windows_have_the_results_that_every_system_is_measured_by(system: System) -> None:
    found = measure(system, Path(sys.executable), COUNT)
    assert found["windows"] == len(by_hand(COUNT)) == 20_000
    assert found["cpu_s"] > 0


def test_a_wrong_result_has_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "window_wrong.py").write_text(
        "from tests.bench.peers.window_records import by_hand, measured\n"
        "measured(lambda: {key: (9, *rest) for key, (_, *rest) in by_hand(50).items()}, 50)\n"
    )
    monkeypatch.setattr("tests.bench.peers.windows.HERE", tmp_path)
    with pytest.raises(NoFigure, match="50 windows instead of 50, 50 of them missing or wrong"):
        measure(replace(OURS[0], script="wrong"), Path(sys.executable), 50)


def test_a_wheel_that_cannot_be_installed_is_a_row_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    missing = replace(OURS[0], script="x", package="no-such-window==1.0")
    with pytest.raises(NoFigure, match=r"pip could not install no-such-window==1\.0 for Python 3") as why:
        python_of(missing, tmp_path)
    lines = table(1000, {OURS[0]: [0.5, 0.4, 9.0], missing: []}, {missing: str(why.value)})
    assert lines[2].startswith("| a loop written by hand | 1,000 | 0.50 | 0.40 to 9.00 | 1.0 |")
    assert "no figure: pip could not install no-such-window==1.0" in lines[3]
