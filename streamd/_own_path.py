"""Removes the working directory from the path of `python -m streamd`.

A `random.py` in that directory would otherwise replace the standard library's module in the daemon.
"""

import os
import sys

_folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - before pathlib
_named = sys.orig_argv[sys.orig_argv.index("-m") + 1 :][:1] if "-m" in sys.orig_argv else []
if sys.argv[:1] == ["-m"] and _named == ["streamd"] and sys.path[:1] == [os.getcwd()] != [_folder]:  # noqa: PTH109
    del sys.path[0]
