import gc
import subprocess
import sys

from streamd.cli._lean_imports import lean_imports

_AFTER_HELP = """
import contextlib, gc, sys
from streamd.cli import main
with contextlib.suppress(SystemExit):
    main(["check", "--help"])
assert "structlog" in sys.modules
assert "rich" not in sys.modules
assert gc.isenabled()
import rich.console
"""


def test_a_command_imports_no_rich_and_its_user_may() -> None:
    done = subprocess.run([sys.executable, "-c", _AFTER_HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_who_collects_no_garbage_collects_none_afterwards() -> None:
    gc.disable()
    try:
        with lean_imports():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
