"""Rehearses a start on this host for `check`: tries everything that a start would open. Changes nothing."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamd import registry
from streamd.admin.control import ControlServer
from streamd.admin.server import AdminServer
from streamd.components import Components, redaction_of
from streamd.config import Loaded
from streamd.core.contracts import Sockets, SourceContext
from streamd.core.counters import Counters
from streamd.core.credential import MissingCredential
from streamd.core.errors import ConfigError, EnvironmentFault, Taken
from streamd.dead_letters.dead_letters import DeadLetters
from streamd.host import units
from streamd.host.running import Running, running
from streamd.ledger.ledger import Ledger
from streamd.net.listen import OwnSockets
from streamd.sqlite.databases import Databases
from streamd.state.store import FILE, StateStore

if TYPE_CHECKING:  # a cycle at run time: `installed_service` imports doctor, which imports this module
    from streamd.host.installed_service import Service


@dataclass(slots=True)
class StartRehearsal:
    """The faults and changes that a start would have now."""

    running: Running
    """The running daemon. Places that it holds are no faults, because a reload keeps them."""
    service: "Service | None" = None
    faults: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    """Statements that a start would run on existing tables."""

    def of(self, rehearse: Callable[[], Any], owner: str = "") -> None:
        """Rehearse one part. `owner` is put before the text of a fault that does not name the part."""
        try:
            found = rehearse() or ()
        except MissingCredential as missing:
            if self.service is not None and not self.service.has_credential(missing.name):
                self._add(
                    f"{missing}; {units.SERVICE.name} does not load it: write [Service] and"
                    f" LoadCredential={missing.name}:/path/to/the/file into a drop-in"
                    f" (`systemctl edit {units.SERVICE.name}`), and restart it",
                    owner,
                )
            return  # only the service can read its credentials
        except Taken as taken:
            if not self.running.holds(taken.place):
                self._add(str(taken), owner)
        except (ConfigError, EnvironmentFault) as fault:
            self._add(str(fault), owner)
        else:
            self.changes += [f"{owner}: {change}" for change in found]

    def _add(self, text: str, owner: str) -> None:
        if self.service is not None:
            text += self.service.hint(text)
        if text not in self.faults:  # several parts may write to one file
            self.faults.append(f"{owner}: {text}" if owner else text)


def rehearse(
    loaded: Loaded,
    made: Components,
    dead_letters: DeadLetters,
    databases: Databases,
    sockets: Sockets | None = None,
    service: "Service | None" = None,
) -> StartRehearsal:
    """Rehearse everything that `streamd run` opens, in the same order.

    `sockets` tries the listeners. `service` is the installed service that runs the configuration, if any.
    """
    config = loaded.config
    trial = StartRehearsal(running(loaded), service)
    _control(loaded, trial)
    trial.of(dead_letters.rehearse)
    ledger = loaded.state_dir / config.ledger.path
    trial.of(lambda: databases.rehearse(ledger))
    trial.of(lambda: Ledger.rehearse(ledger))
    if any(step.is_stateful for steps in made.steps.values() for _, step in steps):
        state = loaded.state_dir / FILE
        trial.of(lambda: databases.rehearse(state))
        trial.of(lambda: StateStore.rehearse(state))
    for name, sink in made.sinks.items():
        trial.of(sink.rehearse, f"sinks.{name}")
    for steps in made.steps.values():
        for _, step in steps:
            trial.of(step.rehearse)
    if config.admin.listen is not None:
        trial.of(lambda: AdminServer.rehearse(loaded))
    for name in config.sources:
        trial.of(partial(_rehearse_source, loaded, made, name, sockets or OwnSockets(), service))
    return trial


def _control(loaded: Loaded, trial: StartRehearsal) -> None:
    path, group = loaded.control_path, loaded.config.control.group
    if path is None:
        return
    other = trial.running.config
    if other is not None and not is_same_file(other, loaded.path):
        try:
            ControlServer.rehearse(path, group)
        except Taken as taken:
            trial.faults.append(f"{taken}; the daemon there runs on {other}")
            return
    trial.of(lambda: ControlServer.rehearse(path, group))


def _rehearse_source(
    loaded: Loaded, made: Components, name: str, sockets: Sockets, service: "Service | None"
) -> None:
    settings = loaded.config.sources[name]
    cls = registry.load("sources", settings.type)
    missing: MissingCredential | None = None
    files: Any = None
    try:
        redaction_of(loaded, name)
    except MissingCredential as fault:
        missing = fault
    try:
        files = cls.read_files(settings, loaded.base_dir)
    except MissingCredential as fault:
        missing = fault
    except EnvironmentFault as fault:
        raise EnvironmentFault(f"source {name}: {fault}") from None
    context = SourceContext(
        name, Counters(), made.framers.get(name), loaded.base_dir, loaded.state_dir, sockets, files
    )
    source = cls(settings, context)
    source.rehearse()
    if service is not None:
        service.refuse_private(f"source {name}", str(source.address))
    if missing is not None:
        raise missing


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same file."""
    return one == other.absolute() or one.resolve() == other.resolve()


def outputs(loaded: Loaded) -> list[tuple[str, Path]]:
    """Every file that the daemon would write, as an absolute path with the table that names it."""
    config = loaded.config
    named: Iterable[tuple[str, str]] = (
        ("ledger", config.ledger.path),
        ("dead_letters", config.dead_letters.path),
        *(
            (f"sinks.{name}", output.at)
            for name, sink in config.sinks.items()
            for output in sink.outputs
            if output.in_files
        ),
    )
    return [(owner, loaded.state_dir / path) for owner, path in named]
