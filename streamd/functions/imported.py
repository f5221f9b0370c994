"""Loads the object named by `file.py:name` or `package.module:name`."""

import contextlib
import difflib
import importlib
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from streamd.core.code_owner import is_installed, is_streamd
from streamd.core.errors import ConfigError
from streamd.core.failure import text_of
from streamd.functions.files import Sources, collect, is_reserved, read
from streamd.functions.modules import Space, is_unchanged, new_space, public_name, space_of


class Imported:
    """An object of the user's code, and the files that it is made of."""

    def __init__(self, reference: str, base_dir: Path, option: str, kind: str, given: object = None) -> None:
        """Import the module. Raises `ConfigError` at the option, with the kind of object in its text.

        `given`: the object itself; then nothing is imported.
        """
        place, _, name = reference.rpartition(":")
        self.sources: Sources = {}
        """The modules of the object that are files in the folder of the configuration."""
        self.root = base_dir
        self._name = ""
        self._space: Space | None = None
        self._package = place.partition(".")[0]
        self._option = option
        module = sys if given is not None else self._module(place, base_dir)
        found = given if given is not None else vars(module).get(name)
        if found is None:
            close = difflib.get_close_matches(name, vars(module), 1)
            hint = f": did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"there is no {kind} {name!r} in {module.__file__}{hint}", (option,))
        self.found: Any = found
        """The object itself."""
        self.where = f"{_where(found, module)}: {name!r}"
        """File, line and name of the object."""

    def is_current(self) -> bool:
        """Whether its files are unchanged. An installed package counts as unchanged."""
        if self._space is None:
            return True
        return self._space.extras_are_current() and is_unchanged(self.root, self._name, self.sources)

    def module(self, name: str) -> ModuleType | None:
        """The loaded module of this name, if the object is made of it; None for other modules.

        `name` is the name in import statements, or `__name__` of the module, in whichever process.
        """
        public = public_name(name)
        if self._space is not None:
            return self._space.load(public) if public in self.sources else None
        package = self._package
        return sys.modules.get(name) if name == package or name.startswith(f"{package}.") else None

    def _module(self, place: str, base_dir: Path) -> ModuleType:
        path = base_dir / place
        try:
            # Standard output may carry the records of a sink or of `streamd try`.
            with contextlib.redirect_stdout(sys.stderr):
                if place.endswith(".py"):
                    path = path.resolve()
                    path.read_bytes()  # raises the reason if the file cannot be read
                    return self._load(path.parent, path.stem)
                top = place.partition(".")[0]
                root = base_dir.resolve()
                if not is_reserved(top) and space_of(root).has(top):
                    return self._load(root, place)
                return importlib.import_module(place)
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror or error}", (self._option,)) from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            text = error.msg if isinstance(error, SyntaxError) else text_of(error)
            raise ConfigError(f"{_place(error)}{type(error).__name__}: {text}", (self._option,)) from error

    def _load(self, root: Path, name: str) -> ModuleType:
        self.root, self._name = root, name
        space = space_of(root)
        source = space.sources.get(name) or read(root, name)
        if source is not None:
            sources = collect(root, name, source)
            if not space.add(sources):
                space = new_space(root)
                space.add(sources)
            self.sources = {inner: space.sources[inner] for inner in sources}
        self._space = space
        return space.load(name)


def _where(found: Any, module: ModuleType) -> str:
    code = getattr(found, "__code__", None)
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno}"
    if inspect.isclass(found):
        try:
            return f"{inspect.getsourcefile(found) or module.__file__}:{inspect.findsource(found)[1] + 1}"
        except (OSError, TypeError):
            pass
    return str(getattr(module, "__file__", module.__name__))


def _place(error: BaseException) -> str:
    """`file:line: ` of the user's code that raised the error; empty if it is unknown."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno or 1}: "
    users = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not is_streamd(frame.filename) and not is_installed(frame.filename)
    ]
    return f"{users[-1].filename}:{users[-1].lineno}: " if users else ""
