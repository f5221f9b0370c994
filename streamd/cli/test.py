"""`streamd test`: runs the tests of a configuration on a virtual clock."""

import argparse
import json
import sys
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from streamd.cli import CONFIG_HELP
from streamd.cli._own_output import own_output
from streamd.core.errors import ConfigError, EnvironmentFault

if TYPE_CHECKING:  # these imports load every component
    from streamd.testing.files import LocatedCase
    from streamd.testing.run import Result


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--config", metavar="FILE", help=CONFIG_HELP)
    parser.add_argument(
        "--only", metavar="NAME", action="append", help="run only tests of this name; * and ? match any text"
    )
    parser.add_argument(
        "--update", action="store_true", help="write the outcome of failed tests into their files"
    )
    parser.add_argument("--junit", metavar="FILE", help="also write the results as JUnit XML")
    parser.add_argument("--json", action="store_true", help="print the results as one JSON object")
    parser.epilog = (
        "The tests are [[tests]] in the configuration, and in NAME.test.toml beside NAME.toml. No socket is"
        " opened, and nothing is stored. Exit code: 0 all passed, 1 a test failed,"
        " 2 the configuration or a test is wrong, or there is no test."
    )


def main(args: argparse.Namespace) -> int:
    """Returns 0 if all tests passed, else 1. Raises `ConfigError` or `EnvironmentFault`."""
    from streamd import config  # noqa: PLC0415 - imported when the command runs, not for its help
    from streamd.logs import logs  # noqa: PLC0415
    from streamd.testing import files, report  # noqa: PLC0415
    from streamd.testing.run import run  # noqa: PLC0415
    from streamd.testing.update import update  # noqa: PLC0415

    path = config.find(args.config)
    loaded = config.load(path)
    cases = _chosen(files.find(loaded, without_expectation=args.update), args.only, path)
    logs.configure("error", loaded.config.log.format)
    results: list[Result] = []
    with own_output() as out:
        for result in run(loaded, cases):
            results.append(result)
            if not args.json:
                print("\n".join(report.lines(result)), file=out)
        if args.json:
            print(json.dumps(report.document(results), indent=2), file=out)
        else:
            print(report.last_line(results), file=out)
        try:
            if args.junit is not None:
                Path(args.junit).write_text(report.junit(str(path), results), "utf-8")
            if args.update:
                for changed in update(results):
                    print(f"streamd: {changed} is updated", file=sys.stderr)
        except OSError as error:
            raise EnvironmentFault(f"cannot write {error.filename}: {error.strerror}") from None
    if args.update:
        return 1 if any(result.fault for result in results) else 0
    return 0 if all(result.passed for result in results) else 1


def _chosen(cases: "list[LocatedCase]", only: list[str] | None, path: Path) -> "list[LocatedCase]":
    """The tests to run. Raises `ConfigError` if there are none."""
    from streamd.config.problems import did_you_mean  # noqa: PLC0415

    if not cases:
        beside = path.with_name(f"{path.stem}.test.toml")
        raise ConfigError(f"there is no test: write [[tests]] into {path} or {beside}")
    chosen: list[LocatedCase] = []
    names: Iterable[str] = [case.case.name for case in cases]
    for pattern in only or ["*"]:
        found = [case for case in cases if case.case.name == pattern or fnmatchcase(case.case.name, pattern)]
        if not found:
            raise ConfigError(f"there is no test {pattern!r}{did_you_mean(pattern, names)}")
        chosen += [case for case in found if case not in chosen]
    return [case for case in cases if case in chosen]
