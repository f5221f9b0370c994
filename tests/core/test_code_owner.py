import json
from pathlib import Path

import msgspec
import pytest

from streamd.core import code_owner
from streamd.core.code_owner import is_installed, is_streamd


@pytest.mark.parametrize(
    ("filename", "ours", "installed"),
    [
        (code_owner.__file__, True, None),
        ("<frozen importlib._bootstrap>", True, False),
        (json.__file__, False, True),
        (msgspec.__file__, False, True),
        ("/opt/app/lib/python3/dist-packages/numpy/x.py", False, True),
        ("/etc/streamd/steps.py", False, False),
        (f"{Path(code_owner.__file__).parents[1]}-steps/steps.py", False, None),
    ],
)
def test_each_file_has_an_owner(filename: str, ours: bool, installed: bool | None) -> None:
    assert is_streamd(filename) == ours
    assert installed is None or is_installed(filename) == installed
