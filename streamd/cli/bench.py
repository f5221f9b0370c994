"""`streamd bench`: measures the daemon on this machine, with a baseline in the same run for comparison."""

import argparse
import errno
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from streamd.bench import (
    anomalies,
    attack,
    chain,
    codecs,
    cores,
    fairness,
    jetstream,
    jetstream_cluster,
    latency,
    machine,
    memory,
    meter,
    observation,
    onnx_models,
    parquet_files,
    postgresql,
    processes,
    report,
    retention,
    start,
    steps,
    tcp,
    tcp_syslog,
    throughput,
    udp,
    udp_cores,
    windows,
)
from streamd.bench.codec_cases import CASES as CODEC_CASES
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError, Row, SkippedError
from streamd.bench.step_cases import CASES
from streamd.cli._layout import folded, laid_out, width_of
from streamd.core.errors import ConfigError, EnvironmentFault

STEPS: dict[str, Callable[[Plan], list[Row]]] = {f"step_{name}": steps.scenario(name) for name in CASES}
CODECS: dict[str, Callable[[Plan], list[Row]]] = {
    f"codec_{name}": codecs.scenario(name) for name in CODEC_CASES
}
GROUPS = {"steps": STEPS, "codecs": CODECS}
SCENARIOS: dict[str, Callable[[Plan], list[Row]]] = {
    "tcp_typed": tcp.typed,
    "tcp_plain": tcp.plain,
    "tcp_wall": throughput.typed,
    "tcp_cores": cores.measure,
    "tcp_steps": chain.measure,
    "tcp_syslog": tcp_syslog.typed,
    "udp_steady": udp.steady,
    "udp_highest": udp.highest,
    "udp_cores": udp_cores.measure,
    "latency": latency.measure,
    "memory_idle": memory.idle,
    "memory_peak": memory.peak,
    "start": start.measure,
    "fairness": fairness.measure,
    "meter": meter.measure,
    "observation": observation.measure,
    "retention": retention.measure,
    "attack": attack.measure,
    "window": windows.measure,
    "anomaly": anomalies.measure,
    "model": onnx_models.measure,
    "parquet": parquet_files.measure,
    "postgresql": postgresql.measure,
    "jetstream": jetstream.measure,
    "jetstream_cluster": jetstream_cluster.measure,
    "process": processes.measure,
    **CODECS,
    **STEPS,
}


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = (
        "The scenarios of codecs and steps run in this process and take about a minute. All others run on"
        " 127.0.0.1 against real daemons; all take about ten minutes. Compare the CPU seconds per million"
        " records, because rates vary on a shared machine. A missed goal is reported, but is no error."
        " Missing records, and books that do not balance, are errors."
    )
    others = ", ".join(name for name in SCENARIOS if name not in {**STEPS, **CODECS})
    parser.add_argument("--only", nargs="+", choices=[*SCENARIOS, *GROUPS], default=list(SCENARIOS),
                        metavar="NAME", help=f"measure only these scenarios: {others}, step_NAME (the step of"
                        " that type, like step_filter), steps (all of these), codec_NAME (a codec alone, like"
                        " codec_syslog), codecs (all of these)")  # fmt: skip
    parser.add_argument("--quick", action="store_true",
                        help="use small counts for a trial run; goals are not judged")  # fmt: skip
    parser.add_argument("--dir", default=tempfile.gettempdir(), metavar="FOLDER",
                        help="the folder of the temporary databases (default %(default)s)")  # fmt: skip
    parser.add_argument("--json", metavar="FILE",
                        help="the file for all measurements (default bench-<date>.json)")  # fmt: skip
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")


def main(options: argparse.Namespace) -> int:
    """Measure and print. Raises `ConfigError`, and `EnvironmentFault` if a scenario or its books fail."""
    at = datetime.now(UTC)
    if "" in (options.dir, options.json):
        raise ConfigError(f'{"--dir" if options.dir == "" else "--json"} "": the value is empty')
    output = Path(options.json or f"bench-{at:%Y-%m-%d-%H%M%S}.json")
    folder = _writable(Path(options.dir), output)
    facts = machine.facts(folder)
    rows: list[Row] = []
    trouble = ""
    with ExitStack() as cleanup:
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that cleanup ends the children
        cleanup.callback(signal.signal, signal.SIGTERM, before)
        step = _progress(cleanup)
        plan = (Plan.quick if options.quick else Plan)(step=step, parent=folder.absolute())
        for name in _wanted(options.only):
            try:
                rows += SCENARIOS[name](plan)
            except SkippedError as why:
                print(f"{name} is skipped: {why}", file=sys.stderr)
            except BenchError as error:
                trouble = f"{name}: {error}"
                break
    document = report.document(rows, facts, f"{at:%Y-%m-%dT%H:%M:%SZ}", options.quick)
    try:
        output.write_text(json.dumps(document, indent=1))
    except OSError as error:
        trouble = f"{trouble}{'; ' * bool(trouble)}cannot write {output}: {error.strerror}"
    print(report.markdown(rows) if options.markdown else text(rows, width_of(sys.stdout, sys.maxsize)))
    print(
        f"\n{', '.join(f'{key} {value}' for key, value in facts.items())}\nwritten to {output}",
        file=sys.stderr,
    )
    if trouble:
        raise EnvironmentFault(trouble)
    return 0


def _wanted(names: Sequence[str]) -> list[str]:
    """The scenarios of these names, each once."""
    return list(dict.fromkeys(one for name in names for one in GROUPS.get(name, [name])))


def text(rows: Sequence[Row], width: int) -> str:
    """The table, laid out for the width of the terminal, and the notes below it."""
    lines = list(laid_out(report.HEAD, report.table(rows), [False] * len(report.HEAD), width))
    lines.append("")
    for note in report.notes(rows):
        lines += folded(note, width, 2)
    return "\n".join(lines)


def _writable(folder: Path, output: Path) -> Path:
    """The folder. Raises `EnvironmentFault` before the measurements if folder or output is not writable."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        output.touch()
        if output.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(output))
    except OSError as error:
        raise EnvironmentFault(f"cannot write to {error.filename}: {error.strerror}") from error
    return folder


def _progress(cleanup: ExitStack) -> Callable[[str], None]:
    """A display of the current scenario and its elapsed time, on a terminal only."""
    if not sys.stderr.isatty():
        return lambda _: None
    from rich import progress  # noqa: PLC0415 - only a terminal needs it
    from rich.console import Console  # noqa: PLC0415

    bar = cleanup.enter_context(
        progress.Progress(
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}"),
            progress.TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
    )
    task = bar.add_task("")
    return lambda text: bar.update(task, description=text)
