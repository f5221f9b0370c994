"""`python -m streamd` without the working directory on the path: a `random.py` there is not the daemon's."""

import os
import sys

_folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - before pathlib
_named = sys.orig_argv[sys.orig_argv.index("-m") + 1 :][:1] if "-m" in sys.orig_argv else []
if sys.argv[:1] == ["-m"] and _named == ["streamd"] and sys.path[:1] == [os.getcwd()] != [_folder]:  # noqa: PTH109
    del sys.path[0]
