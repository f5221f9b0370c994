"""The laws of the house: how the code is divided, and what each part is called."""

import ast
import importlib
import inspect
import statistics
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamd import registry
from streamd.core.contracts import Codec, Framer, Sink, Source, Step
from streamd.core.errors import ConfigError

ROOT = Path(__file__).parent.parent
PRODUCT = ROOT / "streamd"
FILES = sorted(PRODUCT.rglob("*.py"))
MODULES = [path for path in FILES if path.name != "__init__.py"]
CONTRACTS: dict[str, Any] = {
    "sources": Source, "framing": Framer, "codecs": Codec, "steps": Step, "sinks": Sink,
}  # fmt: skip

MOST_LINES = 400
MEDIAN_LINES = 130

COVERED_BY: dict[str, str] = {
    "streamd/__main__.py": "tests/cli/test_help.py",
    "streamd/_own_path.py": "tests/cli/test_help.py",
    "streamd/admin/client.py": "tests/cli/test_reload.py",
    "streamd/admin/control_routes.py": "tests/admin/test_control.py",
    "streamd/admin/exchange.py": "tests/admin/test_control.py",
    "streamd/admin/open_routes.py": "tests/admin/test_server.py",
    "streamd/admin/own_names.py": "tests/admin/test_client_connection.py",
    "streamd/admin/repeated.py": "tests/admin/test_control.py",
    "streamd/admin/stack.py": "tests/admin/test_server.py",
    "streamd/admin/status_answer.py": "tests/admin/test_status.py",
    "streamd/admin/view.py": "tests/admin/test_control.py",
    "streamd/admin/watch.py": "tests/admin/test_control.py",
    "streamd/assembly.py": "tests/e2e/test_flow.py",
    "streamd/bench/attackers.py": "tests/bench/test_attack.py",
    "streamd/bench/fairness.py": "tests/bench/test_attack.py",
    "streamd/bench/machine.py": "tests/bench/test_report.py",
    "streamd/bench/memory.py": "tests/cli/test_bench.py",
    "streamd/bench/meter.py": "tests/cli/test_bench.py",
    "streamd/bench/plan.py": "tests/cli/test_bench.py",
    "streamd/bench/row.py": "tests/bench/test_report.py",
    "streamd/bench/sending.py": "tests/cli/test_bench.py",
    "streamd/bench/stamped_sender.py": "tests/cli/test_bench.py",
    "streamd/bench/start.py": "tests/cli/test_bench.py",
    "streamd/bench/tcp.py": "tests/cli/test_bench.py",
    "streamd/bench/throughput.py": "tests/cli/test_bench.py",
    "streamd/bench/udp.py": "tests/cli/test_bench.py",
    "streamd/cli/_drawing.py": "tests/cli/test_layout.py",
    "streamd/cli/_examples.py": "tests/cli/test_help.py",
    "streamd/cli/_parquet.py": "tests/cli/test_query.py",
    "streamd/cli/_purge.py": "tests/cli/test_dead_letters.py",
    "streamd/cli/_replay.py": "tests/e2e/test_replay.py",
    "streamd/cli/_schema_hint.py": "tests/cli/test_query.py",
    "streamd/cli/_standard_streams.py": "tests/e2e/test_standard_streams.py",
    "streamd/cli/_table.py": "tests/cli/test_layout.py",
    "streamd/cli/_target.py": "tests/e2e/test_finding_the_daemon.py",
    "streamd/cli/_topology.py": "tests/cli/test_check.py",
    "streamd/cli/run.py": "tests/e2e/test_flow.py",
    "streamd/cli/uninstall_service.py": "tests/cli/test_install_service.py",
    "streamd/client/stop.py": "tests/client/test_connection.py",
    "streamd/client/transfer.py": "tests/client/test_connection.py",
    "streamd/components.py": "tests/e2e/test_flow.py",
    "streamd/config/crosschecks.py": "tests/config/test_wrong_configurations.py",
    "streamd/config/functions.py": "tests/config/test_resolved.py",
    "streamd/config/json_schema.py": "tests/cli/test_schema.py",
    "streamd/config/other_words.py": "tests/config/test_wrong_configurations.py",
    "streamd/config/problems.py": "tests/config/test_wrong_configurations.py",
    "streamd/config/reference.py": "tests/cli/test_schema.py",
    "streamd/config/tables.py": "tests/config/test_wrong_configurations.py",
    "streamd/config/validation.py": "tests/config/test_wrong_configurations.py",
    "streamd/core/clock.py": "tests/admin/test_lag.py",
    "streamd/core/contracts/codec.py": "tests/codecs/test_every_codec.py",
    "streamd/core/contracts/framer.py": "tests/framing/test_every_framing.py",
    "streamd/core/contracts/sink.py": "tests/sinks/test_stdout.py",
    "streamd/core/contracts/source.py": "tests/net/test_stream_source.py",
    "streamd/core/contracts/step.py": "tests/steps/test_filter.py",
    "streamd/core/counted.py": "tests/framing/test_every_framing.py",
    "streamd/core/dead_letter.py": "tests/dead_letters/test_dead_letters.py",
    "streamd/core/delimited.py": "tests/framing/test_every_framing.py",
    "streamd/core/errors.py": "tests/test_every_refusal.py",
    "streamd/core/expression_functions.py": "tests/core/test_expression.py",
    "streamd/core/expression_syntax.py": "tests/core/test_expression.py",
    "streamd/core/failpoints.py": "tests/e2e/test_disks.py",
    "streamd/core/failure.py": "tests/core/test_traceback_lines.py",
    "streamd/core/framer_counts.py": "tests/framing/test_every_framing.py",
    "streamd/core/now.py": "tests/admin/test_lag.py",
    "streamd/core/paths.py": "tests/encoding/test_paths.py",
    "streamd/core/printing.py": "tests/core/test_printable.py",
    "streamd/core/code_owner.py": "tests/core/test_traceback_lines.py",
    "streamd/daemon.py": "tests/e2e/test_lifecycle.py",
    "streamd/dead_letters/filter.py": "tests/cli/test_dead_letters.py",
    "streamd/dead_letters/reader.py": "tests/cli/test_dead_letters.py",
    "streamd/encoding/csv.py": "tests/cli/test_schema.py",
    "streamd/files/events.py": "tests/sources/test_file.py",
    "streamd/files/frames.py": "tests/sources/test_file.py",
    "streamd/files/lineage.py": "tests/sources/test_file_lineage.py",
    "streamd/files/position.py": "tests/sources/test_file.py",
    "streamd/files/position_saver.py": "tests/sources/test_file.py",
    "streamd/files/tail.py": "tests/sources/test_file.py",
    "streamd/files/take_over.py": "tests/files/test_rotating_file.py",
    "streamd/files/torn_end.py": "tests/files/test_rotating_file.py",
    "streamd/functions/files.py": "tests/functions/test_modules.py",
    "streamd/functions/reference.py": "tests/functions/test_modules.py",
    "streamd/functions/results.py": "tests/steps/test_python.py",
    "streamd/host/doctor/finding.py": "tests/cli/test_doctor.py",
    "streamd/host/installed_service.py": "tests/cli/test_install_service.py",
    "streamd/host/notes.py": "tests/cli/test_check.py",
    "streamd/host/rehearsal.py": "tests/cli/test_check.py",
    "streamd/host/running.py": "tests/cli/test_doctor.py",
    "streamd/host/units.py": "tests/cli/test_install_service.py",
    "streamd/ledger/tables.py": "tests/ledger/test_ledger.py",
    "streamd/live_view.py": "tests/admin/test_metrics.py",
    "streamd/net/allow.py": "tests/net/test_limits.py",
    "streamd/net/certificate.py": "tests/net/test_listener_tls.py",
    "streamd/net/client_tls.py": "tests/sinks/test_tcp_tls.py",
    "streamd/net/listen.py": "tests/host/test_socket_unit.py",
    "streamd/net/recvmmsg.py": "tests/sources/test_udp.py",
    "streamd/net/source_unix_socket.py": "tests/sources/test_unix.py",
    "streamd/net/tls_files.py": "tests/net/test_listener_tls.py",
    "streamd/net/unix_datagrams.py": "tests/sources/test_unix.py",
    "streamd/net/unix_socket.py": "tests/sources/test_unix.py",
    "streamd/net/unix_streams.py": "tests/sources/test_unix.py",
    "streamd/reading/frames.py": "tests/reading/test_reading.py",
    "streamd/reading/stored.py": "tests/reading/test_reading.py",
    "streamd/registry.py": "tests/test_house.py",
    "streamd/reload/rehearsal.py": "tests/reload/test_swap.py",
    "streamd/reload/reloads.py": "tests/reload/test_swap.py",
    "streamd/replay/letters.py": "tests/replay/test_replay.py",
    "streamd/replay/lock.py": "tests/e2e/test_replay.py",
    "streamd/replay/outcome.py": "tests/replay/test_replay.py",
    "streamd/replay/ways.py": "tests/replay/test_replay.py",
    "streamd/runtime/closing.py": "tests/e2e/test_lifecycle.py",
    "streamd/runtime/decoded.py": "tests/runtime/test_worker.py",
    "streamd/runtime/feed.py": "tests/runtime/test_worker.py",
    "streamd/runtime/gate.py": "tests/e2e/test_state.py",
    "streamd/runtime/offload_errors.py": "tests/runtime/test_offload.py",
    "streamd/runtime/offload_loop.py": "tests/runtime/test_offload.py",
    "streamd/runtime/offload_process.py": "tests/runtime/test_offload.py",
    "streamd/runtime/offload_thread.py": "tests/runtime/test_offload.py",
    "streamd/runtime/offload_wire.py": "tests/runtime/test_offload.py",
    "streamd/runtime/offload_worker.py": "tests/runtime/test_offload.py",
    "streamd/runtime/stage.py": "tests/runtime/test_pipeline.py",
    "streamd/sqlite/attached.py": "tests/sqlite/test_database.py",
    "streamd/sqlite/catch_all.py": "tests/sinks/test_sqlite.py",
    "streamd/sqlite/columns.py": "tests/sinks/test_sqlite_tables.py",
    "streamd/sqlite/connection.py": "tests/sqlite/test_database.py",
    "streamd/sqlite/contents.py": "tests/sqlite/test_database.py",
    "streamd/sqlite/dated_writer.py": "tests/sinks/test_sqlite_dated.py",
    "streamd/sqlite/faults.py": "tests/sqlite/test_database.py",
    "streamd/sqlite/own_files.py": "tests/sqlite/test_recovery.py",
    "streamd/sqlite/read_only.py": "tests/cli/test_query.py",
    "streamd/sqlite/rehearsal.py": "tests/sinks/test_sqlite_tables.py",
    "streamd/sqlite/retention.py": "tests/sinks/test_sqlite_retention.py",
    "streamd/sqlite/rows.py": "tests/sinks/test_sqlite_rejects.py",
    "streamd/sqlite/table.py": "tests/sinks/test_sqlite_tables.py",
    "streamd/sqlite/table_writer.py": "tests/sinks/test_sqlite_trouble.py",
    "streamd/sqlite/typed_rows.py": "tests/sinks/test_sqlite_rejects.py",
    "streamd/state/keeper.py": "tests/e2e/test_state.py",
    "streamd/state/key.py": "tests/e2e/test_state.py",
    "streamd/state/reader.py": "tests/cli/test_state.py",
    "streamd/state/snapshot.py": "tests/e2e/test_state.py",
    "streamd/state/store.py": "tests/e2e/test_state.py",
    "streamd/trial/output.py": "tests/cli/test_try.py",
    "streamd/trial/trial.py": "tests/cli/test_try.py",
}
"""Modules without a test file of their own, by the test that shows what they do."""


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(path: Path) -> Path:
    return path.parent


def classes(path: Path) -> Iterator[ast.ClassDef]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef))


def test_every_package_has_a_docstring_at_its_door() -> None:
    doors = [path for path in FILES if path.name == "__init__.py"]
    assert not [relative(door) for door in doors if not ast.get_docstring(ast.parse(door.read_text()))]
    rooms = {room_of(path) for path in MODULES}
    assert not [relative(room) for room in rooms if not (room / "__init__.py").exists()]


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    lines = {relative(path): len(path.read_text().splitlines()) for path in MODULES}
    assert not {name: n for name, n in lines.items() if n > MOST_LINES}
    assert statistics.median(lines.values()) <= MEDIAN_LINES


def floors() -> set[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return {name.strip() for layer in layers for name in layer.split("|")}


def has_floor(path: Path, named: set[str]) -> bool:
    parts = module_name(path).split(".")
    return any(".".join(parts[:n]) in named for n in range(2, len(parts) + 1))


def test_every_room_stands_on_a_floor() -> None:
    named = floors()
    at_the_door = {"streamd", "streamd._own_path"}  # they are imported before everything else
    modules = [path for path in FILES if module_name(path) not in at_the_door]
    # The door of a room that is spread over several floors has no floor of its own, and imports nothing.
    spread = {name.rpartition(".")[0] for name in named} - {"streamd"}
    lost = [path for path in modules if not has_floor(path, named)]
    assert not [relative(path) for path in lost if module_name(path) not in spread]
    imports = (ast.Import, ast.ImportFrom)
    busy = [p for p in lost if any(isinstance(node, imports) for node in ast.walk(ast.parse(p.read_text())))]
    assert not [relative(path) for path in busy]


def test_every_floor_is_there() -> None:
    there = {module_name(path) for path in FILES}
    assert floors() <= there


@pytest.mark.parametrize("kind", registry.KINDS)
def test_the_listing_of_a_room_of_components_is_the_catalogue(kind: str) -> None:
    listed = {path.stem for path in (PRODUCT / kind).iterdir() if path.name != "__pycache__"} - {"__init__"}
    assert listed <= set(registry.names(kind))
    assert not [name for name in listed if name.startswith("_")]
    for name in listed:
        module = importlib.import_module(f"streamd.{kind}.{name}")
        components = [
            found
            for found in vars(module).values()
            if inspect.isclass(found)
            and found.__module__ == module.__name__
            and issubclass(found, CONTRACTS[kind])
        ]
        assert components == [registry.load(kind, name)], name
        assert components[0].__name__.lower() == name.replace("_", ""), name
        assert components[0].__doc__, name


@pytest.mark.parametrize(
    "text",
    [
        "import csv as stranger",
        "from streamd.codecs.raw import Raw as Stranger",
        "stranger = 1",
        "def stranger(): ...",
        "class Stranger: ...",
        "class Other: ...",
    ],
)
def test_only_a_component_that_a_module_defines_is_taken(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stranger.py").write_text(text)
    package = importlib.import_module("streamd.codecs")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    try:
        with pytest.raises(ConfigError, match=r"streamd\.codecs\.stranger defines no codec stranger"):
            registry.load("codecs", "stranger")
    finally:
        sys.modules.pop("streamd.codecs.stranger", None)
        vars(package).pop("stranger", None)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("stranger_package:Stranger", ""),
        ("stranger_package:Missing", "cannot be loaded"),
        ("stranger_package.missing:Stranger", "cannot be loaded"),
        ("stranger_package:plain", "is no class derived from streamd.core.contracts.Codec"),
        ("stranger_package:Plain", "is no class derived from streamd.core.contracts.Codec"),
    ],
)
def test_a_component_of_another_package_is_one_of_its_kind(
    value: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[streamd.codecs]\nstranger = {value}\n")
    (tmp_path / "stranger_package.py").write_text(
        "from streamd.codecs.raw import Raw\n\n\n"
        "class Stranger(Raw): ...\n\n\nclass Plain: ...\n\n\ndef plain(): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "stranger_package", raising=False)
    load = registry.load.__wrapped__  # what it finds is of this test alone
    if not why:
        assert issubclass(load("codecs", "stranger"), Codec)
        return
    with pytest.raises(ConfigError, match=f"the package stranger brings the codec 'stranger', but .*{why}"):
        load("codecs", "stranger")


def mirror(path: Path) -> Path:
    return ROOT / "tests" / path.relative_to(PRODUCT).parent / f"test_{path.stem.lstrip('_')}.py"


def test_the_tests_mirror_the_code() -> None:
    alone = [path for path in MODULES if not mirror(path).exists()]
    assert not [relative(path) for path in alone if relative(path) not in COVERED_BY]


def test_the_list_of_modules_without_a_test_file_is_true() -> None:
    missing = [name for pair in COVERED_BY.items() for name in pair if not (ROOT / name).is_file()]
    assert not missing
    assert not [name for name in COVERED_BY if mirror(ROOT / name).exists()]


def test_no_two_classes_have_one_name() -> None:
    places = defaultdict(list)
    for path in FILES:
        for node in classes(path):
            places[node.name].append(path)
    del places["Config"]  # each component has one
    twice = {name: paths for name, paths in places.items() if len(paths) > 1}
    # Components of one type in two kinds (`file`, `tcp`, `auto`) both have the type's name.
    of_types = {name for name, paths in twice.items() if all(path.parent.name in CONTRACTS for path in paths)}
    assert not {name: list(map(relative, paths)) for name, paths in twice.items() if name not in of_types}


def test_no_module_imports_a_private_name_of_another_room() -> None:
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("streamd"):
                continue
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            room = module_name(room_of(path) / "__init__.py")
            found += [
                f"{relative(path)}:{node.lineno} {name}"
                for name in names
                if any(part.startswith("_") and not part.startswith("__") for part in name.split("."))
                and name.rpartition("._")[0] != room
            ]
    assert not found
