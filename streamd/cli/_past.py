"""Reads figures for a scenario from files: a ledger's history, and a benchmark's result."""

import time
from contextlib import closing
from pathlib import Path

from streamd.capacity import benched, history
from streamd.capacity.configured import Load
from streamd.capacity.figures import FRAME_BYTES, Figures, UnknownCapacityError
from streamd.capacity.history import Interval, intervals_of, length_s
from streamd.cli.query import only_reading, open_read_only
from streamd.config import Loaded
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.moment import moment
from streamd.core.printable import printable
from streamd.core.regular_file import read_regular
from streamd.host.running import loaded_where_it_runs

SINCE = "1d"


def from_files(
    config: str | None, ledger: str | None, since: str | None, bench: str | None, frame_bytes: float | None
) -> tuple[Figures, float | None]:
    """Figures from a ledger (None: not asked for, "": that of the configuration), a benchmark, or both.

    Returns them with the length of the history in seconds, None without a ledger. Raises `ConfigError`,
    `EnvironmentFault`, and `UnknownCapacityError` if the files do not show enough.
    """
    loaded = loaded_where_it_runs(config, may_be_missing=ledger is None and since is None)
    intervals: list[Interval] | None = None
    loads: dict[str, Load] = {}
    if ledger is not None or since is not None:
        intervals = _intervals(loaded, ledger, since or SINCE)
        loads = history.loads_of(intervals)
    if bench is None:
        figures = history.figures_of(intervals or [], loaded.config, frame_bytes)
        if not figures.lines:
            raise UnknownCapacityError("the ledger shows no processed frame, so the capacity is not known")
    else:
        body = read(bench)
        figures = benched.figures_of(body, loaded.config, loads, frame_bytes, printable(bench))
    if frame_bytes is None:
        said = f"{FRAME_BYTES:.0f} B of memory a frame, assumed; --frame-size gives another size"
        figures = figures.assuming(said)
    if intervals is None:
        return figures, None
    said = f"loads: as the ledger has them since {since or SINCE}, {length_s(intervals):,.0f} s"
    return figures.assuming(said), length_s(intervals)


def _intervals(loaded: Loaded, ledger: str | None, since: str) -> list[Interval]:
    try:
        begin = moment(since, time.time(), timezone="UTC")
    except ValueError as error:
        raise ConfigError(f"--since {printable(since)}: {error}") from None
    path = Path(ledger) if ledger else loaded.state_dir / loaded.config.ledger.path
    with closing(open_read_only(path)) as connection, only_reading(connection, path):
        found = intervals_of(connection.execute(history.SQL, (begin,)))
    known = set(loaded.config.sources)
    found = [one for one in found if one.source in known]
    if not any(one.arrived for one in found):
        raise UnknownCapacityError(
            f"the ledger in {printable(str(path))} has no arrivals since {begin}: give an earlier --since,"
            " or a load with --bench FILE.json --rate 50000/s"
        )
    return found


def read(path: str) -> bytes:
    """The content of a benchmark's result. Raises `EnvironmentFault`."""
    try:
        return read_regular(path)
    except OSError as error:
        raise EnvironmentFault(f"cannot read {printable(path)}: {error.strerror}") from None
