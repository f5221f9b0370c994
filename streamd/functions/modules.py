"""Modules beside a configuration, imported for steps: apart from everything else in the process.

A folder's modules share one namespace, as they would in a program started there. It is not that of the
daemon: two folders may have modules of one name, and a file called like an installed package is seen by its
neighbours only. A file that has changed begins a new namespace at the next load, in which everything is
imported anew; steps that were made before keep theirs.
"""

import builtins
import importlib
import importlib.abc
import importlib.util
import itertools
import sys
import weakref
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from streamd.functions.files import ModuleSource, Sources, collect, is_reserved, read

_PREFIX = "streamd_step_"
_numbers = itertools.count(1)
_spaces: "weakref.WeakValueDictionary[str, Space]" = weakref.WeakValueDictionary()
"""By the private name under which its modules are in `sys.modules`."""
_newest: "dict[Path, Space]" = {}


class Space:
    """The modules of one folder, as they were when they were first needed."""

    def __init__(self, root: Path, sources: Sources | None = None) -> None:
        """`sources` are modules that were read by another process and count instead of the files."""
        self.root = root
        self.name = f"{_PREFIX}{next(_numbers)}"
        self.sources: Sources = dict(sources or {})
        self._pinned = sources is not None
        self._extras: set[str] = set()
        self._local: dict[str, bool] = {}
        self._builtins = vars(builtins) | {"__import__": _importer(weakref.ref(self))}
        parent = ModuleType(self.name)
        parent.__path__ = []
        sys.modules[self.name] = parent
        _spaces[self.name] = self
        weakref.finalize(self, _forget, self.name)
        if _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)
            sys.meta_path.append(_PLAIN_NAMES)

    def is_current(self) -> bool:
        """Whether every file is as it was read."""
        return self._pinned or all(map(_is_unchanged, self.sources.values()))

    def extras_are_current(self) -> bool:
        """Whether the files that no import statement names, and a function has imported, are as they were."""
        return all(_is_unchanged(self.sources[name]) for name in self._extras)

    def add(self, sources: Sources) -> bool:
        """Take modules that were found on disk. False where one that is loaded already lacks one of them."""
        self._local.clear()
        missing = sources.keys() - self.sources.keys()
        loaded = [name for name in sources if f"{self.name}.{name}" in sys.modules] if missing else []
        if any(missing & collect(self.root, name, sources[name]).keys() for name in loaded):
            return False
        self.sources |= {name: sources[name] for name in missing}
        return True

    def has(self, name: str) -> bool:
        """Whether this top-level name means a module of the folder.

        The standard library comes first; then a file or package here; a folder without `__init__.py` is a
        package only where nothing that is installed has its name.
        """
        known = self._local.get(name)
        if known is None:
            known = self._local[name] = not is_reserved(name) and self._is_here(name)
        return known

    def _is_here(self, name: str) -> bool:
        if name in self.sources or read(self.root, name) is not None:
            return True
        spec = _not_source(name, self.root)
        return spec is not None and (spec.loader is not None or not _is_installed(name))

    def load(self, name: str) -> ModuleType:
        """The module, imported now unless it was. What it raises is raised."""
        try:
            return importlib.import_module(f"{self.name}.{name}")
        except ModuleNotFoundError as error:
            raise self.named_as_written(error) from None

    def named_as_written(self, error: ModuleNotFoundError) -> ModuleNotFoundError:
        """The same of a module of the folder, by the name that its users know."""
        if error.name is None or not error.name.startswith(f"{self.name}."):
            return error
        wanted = error.name.removeprefix(f"{self.name}.")
        return ModuleNotFoundError(f"No module named {wanted!r}", name=wanted).with_traceback(
            error.__traceback__
        )

    def spec(self, name: str) -> ModuleSpec | None:
        """How a module of the folder is loaded; None where there is none of that name."""
        full = f"{self.name}.{name}"
        source = self.sources.get(name)
        if source is None:
            source = read(self.root, name)
            if source is None:
                return _not_source(full, self.root.joinpath(*name.split(".")[:-1]))
            self.sources[name] = source
            self._extras.add(name)
        loader = _Loader(source, self._builtins)
        spec = ModuleSpec(full, loader, origin=source.path, is_package=source.is_package)
        spec.has_location = True
        if source.is_package:
            spec.submodule_search_locations = [str(Path(source.path).parent)]
        return spec


def space_of(root: Path) -> Space:
    """The newest space of a folder, or a new one where a file has changed since."""
    space = _newest.get(root)
    if space is None or not space.is_current():
        space = new_space(root)
    return space


def new_space(root: Path) -> Space:
    """A space in which everything is imported anew."""
    space = _newest[root] = Space(root)
    return space


def use_sources(root: Path, sources: Sources) -> None:
    """Take these for the modules of the folder in this process, whatever its files have become."""
    _newest[root] = Space(root, sources)


def is_unchanged(root: Path, name: str, sources: Sources) -> bool:
    """Whether a module and all it imports from its folder would be read as in `sources`."""
    source = read(root, name)
    return source is not None and collect(root, name, source) == sources


def _is_unchanged(source: ModuleSource) -> bool:
    try:
        return Path(source.path).read_bytes() == source.content
    except OSError:
        return False


def _is_installed(name: str) -> bool:
    for finder in sys.meta_path:
        if finder not in (_FINDER, _PLAIN_NAMES):
            try:
                if finder.find_spec(name, None) is not None:
                    return True
            except (ImportError, ValueError, AttributeError):
                continue
    return False


def _forget(name: str) -> None:
    for key in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
        module = sys.modules.pop(key, None)
        if module is None:
            continue
        for plain in [plain for plain, other in sys.modules.items() if other is module]:
            del sys.modules[plain]


def _not_source(full: str, folder: Path) -> ModuleSpec | None:
    """An extension module, bytecode without a source, or a folder as package."""
    name = full.rpartition(".")[2]
    PathFinder.invalidate_caches()
    spec = PathFinder.find_spec(full if full != name else name, [str(folder)])
    return None if spec is None or isinstance(spec.loader, SourceFileLoader) else spec


class _Loader(importlib.abc.InspectLoader):
    """Runs the source that was read: a cache of bytecode misses what changes within a second."""

    def __init__(self, source: ModuleSource, its_builtins: dict[str, Any]) -> None:
        self._source = source
        self._builtins = its_builtins

    def get_source(self, fullname: str) -> str:
        del fullname
        return importlib.util.decode_source(self._source.content)

    def get_code(self, fullname: str) -> CodeType:
        del fullname
        code: CodeType = compile(self._source.content, self._source.path, "exec", dont_inherit=True)
        return code

    def is_package(self, fullname: str) -> bool:
        del fullname
        return self._source.is_package

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self._builtins
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102 - the user's own code is what is asked for


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of spaces under their private names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        top, _, name = fullname.partition(".")
        space = _spaces.get(top) if name else None
        return space.spec(name) if space is not None else None


class _PlainNames(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds them under the names they have for the user, after everything that is installed.

    A library may ask so (pickle, `import_module`) that a module of a space has called.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        space = _calling_space()
        if space is None or not space.has(fullname.partition(".")[0]):
            return None
        module = space.load(fullname)
        return ModuleSpec(fullname, self, is_package=hasattr(module, "__path__"), loader_state=module)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module: ModuleType = spec.loader_state
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__ = module.__spec__.loader_state


_FINDER = _Finder()
_PLAIN_NAMES = _PlainNames()


def _calling_space() -> Space | None:
    frame = sys._getframe(1)  # noqa: SLF001 - the one way to know who asks
    while frame is not None:
        top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if top.startswith(_PREFIX):
            return _spaces.get(top)
        frame = frame.f_back  # type: ignore[assignment]  # None ends the loop
    return None


def _give_plain_name(name: str, module: ModuleType) -> None:
    known = sys.modules.get(name)
    if known is None or known.__name__.startswith(_PREFIX):
        sys.modules[name] = module


def _importer(space_ref: "weakref.ref[Space]") -> Any:
    """The `__import__` of a space's modules: first its own, then what is installed."""
    plain = builtins.__import__

    def import_(
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the names of `__import__`
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        space = space_ref()
        top = name.partition(".")[0]
        if level or space is None or not space.has(top):
            return plain(name, globals, locals, fromlist or (), level)
        try:
            if fromlist and not isinstance(fromlist, list):
                return plain(f"{space.name}.{name}", globals, locals, fromlist, 0)
            module = space.load(name)
        except ModuleNotFoundError as error:
            raise space.named_as_written(error) from None
        if isinstance(
            fromlist, list
        ):  # no statement: C code like pickle, which looks into `sys.modules` then
            _give_plain_name(name, module)
            return module
        return sys.modules[f"{space.name}.{top}"]

    return import_
