import os
from pathlib import Path

import pytest

from streamd import config
from streamd.config import written as written_module
from streamd.config.written import WrittenConfig, read_table
from streamd.core.errors import ConfigError

MAIN = """\
[daemon]
workers = 3
[sources.lab]
type = "udp"
listen = "127.0.0.1:9999"
[pipelines.main]
sources = ["lab"]
sinks = ["records"]
"""
SOURCE = '[sources.{0}]\ntype = "udp"\nlisten = "127.0.0.1:{1}"\n'
PIPELINE = '[pipelines.{0}]\nsources = ["{0}"]\nsinks = ["{1}"]\n'
TWICE = "{}: is also defined in {}; only one file may define it"
SINK = '[sinks.records]\ntype = "sqlite"\n'


def lay(folder: Path, files: dict[str, str], main: str = MAIN) -> Path:
    """A main file, and files of `conf.d` beside it."""
    path = folder / "streamd.toml"
    path.write_text(main)
    (folder / "conf.d").mkdir()
    for name, text in files.items():
        (folder / "conf.d" / name).write_text(text)
    return path


def refused(path: Path) -> list[str]:
    """What is said of it, without the folder."""
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    return str(caught.value).replace(f"{path.parent}/", "").splitlines()


def test_files_add_tables_in_the_order_of_their_names(tmp_path: Path) -> None:
    a, b = (SOURCE.format(name, 0) + PIPELINE.format(name, "records") for name in "ab")
    path = lay(tmp_path, {"20-b.toml": b, "10-a.toml": a, "sink.toml": SINK})

    loaded = config.load(path)

    assert list(loaded.config.sources) == ["lab", "a", "b"]
    assert list(loaded.config.pipelines) == ["main", "a", "b"]
    assert loaded.config.daemon.workers == 3
    assert loaded.base_dir == tmp_path
    assert [file.name for file in loaded.written.files] == [
        "streamd.toml", "10-a.toml", "20-b.toml", "sink.toml",
    ]  # fmt: skip


def test_only_files_that_end_in_toml_are_read_and_none_that_begins_with_a_dot(tmp_path: Path) -> None:
    path = lay(
        tmp_path, {"a.toml": SINK, ".a.toml": "nonsense", "a.toml~": "nonsense", "a.toml.orig": "nonsense"}
    )

    assert list(config.load(path).config.sinks) == ["records"]


def test_one_table_can_be_seen_whatever_is_wrong_beside_it(tmp_path: Path) -> None:
    path = lay(
        tmp_path, {"a.toml": "nonsense", "b.toml": '[control]\npath = "x"\n[log]\n', "c.toml": "[log]\n"}
    )
    (tmp_path / "conf.d" / "d.toml").mkdir()

    assert read_table(path, "daemon") == {"workers": 3}
    assert read_table(path, "control") == {"path": "x"}
    assert read_table(path, "admin") == {}
    path.write_text("nonsense")
    with pytest.raises(ConfigError, match=r"streamd.toml:1: Expected"):
        read_table(path, "control")


def test_without_the_folder_the_main_file_is_all(tmp_path: Path) -> None:
    path = tmp_path / "streamd.toml"
    path.write_text(MAIN + SINK)

    assert list(config.load(path).written.files) == [path]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"a.toml": SINK, "b.toml": "\n" + SINK},
            [TWICE.format("conf.d/b.toml:2: sinks.records", "conf.d/a.toml:1")],
        ),
        (
            {"a.toml": SINK + "[sources.lab]\n"},
            [TWICE.format("conf.d/a.toml:3: sources.lab", "streamd.toml:3")],
        ),
        (
            {"a.toml": SINK + "[sources.lab.buffer]\nmax_records = 1\n"},
            [TWICE.format("conf.d/a.toml:3: sources.lab", "streamd.toml:3")],
        ),
        (
            {"a.toml": SINK + "[daemon]\nmax_batch = 7\n"},
            [TWICE.format("conf.d/a.toml:3: daemon", "streamd.toml:1")],
        ),
        (
            {"a.toml": '[log]\nlevel = "info"\n', "b.toml": 'log.level = "debug"\n' + SINK},
            [TWICE.format("conf.d/b.toml:1: log", "conf.d/a.toml:1")],
        ),
        (
            {"a.toml": "sources = 5\n" + SINK},
            [TWICE.format("conf.d/a.toml:1: sources", "streamd.toml:3")],
        ),
        (
            {"a.toml": "[[schemas]]\n", "b.toml": SINK + '[schemas.reading]\nseq = "int"\n'},
            [TWICE.format("conf.d/b.toml:3: schemas.reading", "conf.d/a.toml:1")],
        ),
        (
            {"a.toml": SINK, "b.toml": SINK, "c.toml": SINK},
            [TWICE.format(f"conf.d/{name}.toml:1: sinks.records", "conf.d/a.toml:1") for name in "bc"],
        ),
        (
            {"a.toml": SINK + "typ = 1\n"},
            ['conf.d/a.toml:3: sinks.records.typ: unknown key (did you mean "type"?)'],
        ),
        (
            {"a.toml": SINK, "b.toml": "\n[sink.x]\n"},
            ['conf.d/b.toml:2: sink: unknown key (did you mean "sinks"?)'],
        ),
        (
            {"a.toml": SINK + "[ledger]\npath = 5\n"},
            ["conf.d/a.toml:4: ledger.path: should be a text in quotes, and is 5"],
        ),
        (
            {"a.toml": SINK, "b.toml": "schemas = 5\n"},
            ["conf.d/b.toml:1: schemas: should be tables with a name, [schemas.name], and is 5"],
        ),
        (
            {"a.toml": SINK, "b.toml": "[schemas]\nx = 5\n"},
            ["conf.d/b.toml:2: schemas.x: should be a table, and is 5"],
        ),
        (
            {"a.toml": SINK, "b.toml": SOURCE.format("b", 9999) + PIPELINE.format("b", "record")},
            [
                "conf.d/b.toml:3: sources.b.listen: udp 127.0.0.1:9999 is taken by sources.lab",
                'conf.d/b.toml:6: pipelines.b.sinks[0]: there is no sink "record" (did you mean "records"?)',
            ],
        ),
        (
            {"a.toml": SINK, "b.toml": SOURCE.format("b", 0)},
            ["conf.d/b.toml:1: sources.b: no pipeline reads it"],
        ),
        (
            {"a.toml": SINK + '[sinks.other]\ntype = "sqlite"\ntable = "records"\n'},
            ['conf.d/a.toml:5: sinks.other.table: sinks.records writes "records" in the same file'],
        ),
        (
            {},
            ['streamd.toml:8: pipelines.main.sinks[0]: there is no sink "records"; there are none'],
        ),
        (
            {"a.toml": SINK, "b.toml": "[daemon\n"},
            [
                (
                    "conf.d/b.toml:1:8: Expected ']' at the end of a table declaration: the name of a table"
                    " has letters, digits, _ and -, and ends with ]: write [daemon]"
                )
            ],
        ),
        (
            {"a.toml": "= 1\n", "b.toml": "= 2\n" + SINK},
            ["conf.d/a.toml:1:1: Invalid statement", "conf.d/b.toml:1:1: Invalid statement"],
        ),
        (
            {"a.toml": SINK, "b.toml": "\n[sinks.b]\nx = " + "[" * 5000},
            ["conf.d/b.toml: nested too deeply"],
        ),
        (
            {"a.toml": SINK, "b\n.toml": "x = 1\n"},
            ["conf.d/b\\n.toml:1: x: unknown key"],
        ),
    ],
)
def test_what_is_wrong_is_told_with_the_file_it_stands_in(
    files: dict[str, str], said: list[str], tmp_path: Path
) -> None:
    assert refused(lay(tmp_path, files)) == said


def test_problems_come_in_the_order_of_files_and_lines(tmp_path: Path) -> None:
    path = lay(tmp_path, {"a.toml": SINK + "b = 1\na = 1\n"}, MAIN + "x = 1\n")

    assert [line.split(": ")[0] for line in refused(path)] == [
        "streamd.toml:9", "conf.d/a.toml:3", "conf.d/a.toml:4",
    ]  # fmt: skip


def test_what_is_found_later_is_told_with_the_text_that_was_loaded(tmp_path: Path) -> None:
    path = lay(tmp_path, {"a.toml": SINK})
    loaded = config.load(path)
    (tmp_path / "conf.d" / "a.toml").write_text("# since then\n" + SINK)

    error = loaded.error([config.Problem(("sinks", "records", "type"), "why")])

    assert str(error) == f"{tmp_path}/conf.d/a.toml:2: sinks.records.type: why"


def test_whatever_stands_there_is_told_and_not_waited_for(tmp_path: Path) -> None:
    path = lay(tmp_path, {"z.toml": SINK, "b.toml": ""})
    folder = tmp_path / "conf.d"
    (folder / "b.toml").write_bytes(b"# one\n# caf\xe9\n")
    (folder / "c.toml").symlink_to("c.toml")
    (folder / "d.toml").symlink_to("e.toml")
    (folder / "e.toml").symlink_to("d.toml")
    (folder / "f.toml").mkdir()
    (folder / "g.toml").symlink_to("nowhere")
    os.mkfifo(folder / "h.toml")
    (folder / "i.toml").symlink_to("/dev/zero")

    assert refused(path) == [
        "conf.d/b.toml:2: not UTF-8: byte 0xe9",
        "conf.d/c.toml: cannot be read: Too many levels of symbolic links",
        "conf.d/d.toml: cannot be read: Too many levels of symbolic links",
        "conf.d/e.toml: cannot be read: Too many levels of symbolic links",
        "conf.d/f.toml: is a folder",
        "conf.d/g.toml: cannot be read: No such file or directory",
        "conf.d/h.toml: is no regular file",
        "conf.d/i.toml: is no regular file",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_told(tmp_path: Path) -> None:
    path = lay(tmp_path, {"a.toml": SINK})
    (tmp_path / "conf.d" / "a.toml").chmod(0)

    assert refused(path) == ["conf.d/a.toml: cannot be read: Permission denied"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("conf.d", "conf.d: cannot be read: Too many levels of symbolic links"),
        ("nowhere", "conf.d: the target of this link does not exist"),
        ("streamd.toml", "conf.d: cannot be read: Not a directory"),
    ],
)
def test_a_folder_that_cannot_be_read_is_told(target: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "streamd.toml"
    path.write_text(MAIN + SINK)
    (tmp_path / "conf.d").symlink_to(target)

    assert refused(path) == [said]


def test_ten_thousand_files_are_read_and_one_more_is_too_many(tmp_path: Path) -> None:
    path = lay(tmp_path, {f"{n:05}.toml": f'[schemas.s{n}]\na = "int"\n' for n in range(9_999)})
    (tmp_path / "conf.d" / "sink.toml").write_text(SINK)
    assert len(WrittenConfig(path).document["schemas"]) == 9_999

    (tmp_path / "conf.d" / "last.toml").touch()
    assert refused(path) == ["conf.d: more than 10000 files: this is no configuration"]


def test_all_files_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written_module, "LARGEST_BYTES", 1 << 20)
    path = lay(tmp_path, {f"{n}.toml": f"# {'x' * 600_000}\n" for n in range(4)})

    assert refused(path) == ["conf.d/1.toml: larger than 1 MiB with the files before it"]
