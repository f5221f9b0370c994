"""Imports modules in the folder of a configuration for steps, isolated from other modules of the process.

The modules of a folder share a namespace, as in a program that is started there. It is separate from the
namespace of the daemon. So two folders may have modules of the same name, and only modules of the folder see
a file that is named like an installed package. If a file has changed, the next load makes a new namespace and
imports all modules again. Existing steps keep the old namespace.
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
"""Spaces by the private name of their modules in `sys.modules`."""
_newest: "dict[Path, Space]" = {}


class Space:
    """The namespace of one folder. Each module has the source that was read when it was first needed."""

    def __init__(self, root: Path, sources: Sources | None = None) -> None:
        """`sources` are modules that another process has read, to use instead of the files."""
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
        """Whether no file has changed since it was read."""
        return self._pinned or all(map(_is_unchanged, self.sources.values()))

    def extras_are_current(self) -> bool:
        """Whether the files that were imported without an import statement are unchanged."""
        return all(_is_unchanged(self.sources[name]) for name in self._extras)

    def add(self, sources: Sources) -> bool:
        """Add modules that were read. Returns False if a loaded module would import a new one differently."""
        self._local.clear()
        missing = sources.keys() - self.sources.keys()
        loaded = [name for name in sources if f"{self.name}.{name}" in sys.modules] if missing else []
        if any(missing & collect(self.root, name, sources[name]).keys() for name in loaded):
            return False
        self.sources |= {name: sources[name] for name in missing}
        return True

    def has(self, name: str) -> bool:
        """Whether this top-level name means a module of the folder.

        The standard library comes first, then a file or package in the folder. A subfolder without
        `__init__.py` is a package only if no installed package has its name.
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
        """The module, imported if necessary. Raises any exception of its code."""
        try:
            return importlib.import_module(f"{self.name}.{name}")
        except ModuleNotFoundError as error:
            raise self.named_as_written(error) from None

    def named_as_written(self, error: ModuleNotFoundError) -> ModuleNotFoundError:
        """The same error with the public name of a module of the folder instead of its private one."""
        if error.name is None or not error.name.startswith(f"{self.name}."):
            return error
        wanted = error.name.removeprefix(f"{self.name}.")
        return ModuleNotFoundError(f"No module named {wanted!r}", name=wanted).with_traceback(
            error.__traceback__
        )

    def spec(self, name: str) -> ModuleSpec | None:
        """The spec of a module of the folder; None if there is no such module."""
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


def public_name(name: str) -> str:
    """The name of a module in import statements, for its `__name__`."""
    top, _, rest = name.partition(".")
    return rest if rest and top.startswith(_PREFIX) else name


def space_of(root: Path) -> Space:
    """The newest space of a folder, or a new one if a file has changed since."""
    space = _newest.get(root)
    if space is None or not space.is_current():
        space = new_space(root)
    return space


def new_space(root: Path) -> Space:
    """A new space of the folder, in which all modules are imported again."""
    space = _newest[root] = Space(root)
    return space


def forget_spaces() -> None:
    """Import all modules again for the steps that are made from now on, as a new process does."""
    _newest.clear()


def use_sources(root: Path, sources: Sources) -> None:
    """Use these sources for the modules of the folder in this process, instead of its files."""
    _newest[root] = Space(root, sources)


def is_unchanged(root: Path, name: str, sources: Sources) -> bool:
    """Whether a module and the modules of the folder that it imports still equal `sources`."""
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
    """The spec of an extension module, of bytecode without a source, or of a folder as a package."""
    name = full.rpartition(".")[2]
    PathFinder.invalidate_caches()
    spec = PathFinder.find_spec(full if full != name else name, [str(folder)])
    return None if spec is None or isinstance(spec.loader, SourceFileLoader) else spec


class _Loader(importlib.abc.InspectLoader):
    """Compiles the source that was read. A bytecode cache would miss changes within one second."""

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
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102 - the user's own code


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
    """Finds the modules of spaces under their public names, after all installed modules.

    A library that a module of a space calls may import so (pickle, `import_module`).
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
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to find the caller
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
    """The `__import__` for the modules of a space, which searches the space before installed modules."""
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
        # An import statement gives a tuple. A list comes from C code like pickle, which reads `sys.modules`.
        if isinstance(fromlist, list):
            _give_plain_name(name, module)
            return module
        return sys.modules[f"{space.name}.{top}"]

    return import_
