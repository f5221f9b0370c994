import os
import tomllib
from pathlib import Path

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from streamd import config
from streamd.config import written as written_module
from streamd.core.errors import ConfigError
from streamd.core.settings import Address, ComponentSettings

MINIMAL = """\
[sources.lab]
type = "udp"
listen = "127.0.0.1:9999"
[pipelines.main]
sources = ["lab"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
"""


def written(folder: Path, content: bytes | str) -> Path:
    path = folder / "c.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_defaults_are_those_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)

    loaded = config.load(written(tmp_path, MINIMAL))

    assert loaded.base_dir == tmp_path
    assert loaded.schemas == {}
    assert loaded.state_dir == Path.cwd() / "var"
    daemon = loaded.config.daemon
    assert (daemon.workers, daemon.max_batch, daemon.drain_timeout) == (5, 1024, 30.0)
    assert loaded.config.admin.listen == Address("127.0.0.1", 9900)
    assert loaded.config.dead_letters.max_size == 256 << 20
    assert loaded.config.sources["lab"].buffer.max_bytes == 64 << 20
    assert loaded.config.pipelines["main"].sinks == ["records"]


def test_schemas_are_built(tmp_path: Path) -> None:
    text = MINIMAL + '[schemas.reading]\nat = "timestamp"\nseq = { type = "int", required = false }\n'

    loaded = config.load(written(tmp_path, text))

    assert loaded.schemas["reading"].names == ("at", "seq")


def test_the_first_state_directory_of_systemd_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/streamd:/var/lib/other")

    assert config.load(written(tmp_path, MINIMAL)).state_dir == Path("/var/lib/streamd")


def test_admin_can_be_turned_off(tmp_path: Path) -> None:
    assert config.load(written(tmp_path, MINIMAL + '[admin]\nlisten = "none"\n')).config.admin.listen is None


@pytest.mark.parametrize("listen", ["localhost:1", "127.8.9.1:1", "[::1]:1"])
def test_every_loopback_address_will_do_for_admin(listen: str, tmp_path: Path) -> None:
    loaded = config.load(written(tmp_path, f'{MINIMAL}[admin]\nlisten = "{listen}"\n'))

    assert str(loaded.config.admin.listen) == listen


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.org:1"])
def test_another_address_for_admin_needs_a_token(listen: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only a loopback address"):
        config.load(written(tmp_path, f'{MINIMAL}[admin]\nlisten = "{listen}"\n'))
    for token in ('"page.token"', '{ credential = "page.token" }'):
        table = f'[admin]\nlisten = "{listen}"\ntoken = {token}\n'
        assert config.load(written(tmp_path, MINIMAL + table)).config.admin.is_open


def test_admin_may_be_a_unix_socket(tmp_path: Path) -> None:
    table = '[admin]\nlisten = "unix:run/admin.sock"\ngroup = "adm"\n'
    admin = config.load(written(tmp_path, MINIMAL + table)).config.admin

    assert (admin.socket_path, admin.is_open) == ("run/admin.sock", False)
    assert config.load(written(tmp_path, MINIMAL)).config.admin.socket_path is None


@pytest.mark.parametrize("content", [MINIMAL.replace("\n", "\r\n"), "\ufeff" + MINIMAL])
def test_what_editors_add_changes_nothing(content: str, tmp_path: Path) -> None:
    plain = config.load(written(tmp_path, MINIMAL)).config

    assert config.load(written(tmp_path, content)).config == plain


def test_a_large_file_loads_and_a_vast_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comments = "# a comment that says nothing\n" * 350_000
    assert len(comments) > 10_000_000
    assert config.load(written(tmp_path, comments + MINIMAL)).config.sources

    monkeypatch.setattr(written_module, "LARGEST_BYTES", 1 << 20)
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        config.load(tmp_path / "c.toml")


def test_a_device_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="it is a device, and no regular file"):
        config.load(Path("/dev/zero"))


def test_a_line_deep_in_a_large_file_is_found(tmp_path: Path) -> None:
    many = "".join(f'[schemas.s{n}]\na = {{ type = "int", ge = {n} }}\n' for n in range(5000))

    with pytest.raises(ConfigError) as caught:
        config.load(written(tmp_path, many + MINIMAL + "typ = 1\n"))

    assert "c.toml:10009: sinks.records.typ: unknown key" in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: None, "No such file"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.write_bytes(b"a = 1\nb = '\xff'\n"), ":2: not UTF-8: byte 0xff"),
        (lambda path: path.write_bytes(MINIMAL.encode("utf-16")), ":1: not UTF-8: byte 0xff"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_told(make: object, words: str, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    assert callable(make)
    make(path)

    with pytest.raises(ConfigError, match=words):
        config.load(path)


def test_find_prefers_what_is_named_over_the_environment_over_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMD_CONFIG", "from-the-environment.toml")
    assert config.find("named.toml") == Path("named.toml")
    assert config.find(None) == Path("from-the-environment.toml")

    monkeypatch.delenv("STREAMD_CONFIG")
    Path("config").mkdir()
    Path("config/streamd.toml").touch()
    assert config.find(None) == Path("config/streamd.toml")


def test_component_gives_the_class_and_its_own_settings() -> None:
    cls, settings = config.component("framing", ComponentSettings(type="length_prefix", size=2))

    assert cls.__name__ == "LengthPrefix"
    assert settings.model_dump()["size"] == 2
    with pytest.raises(ConfigError, match=r"size: should be 1, 2 or 4, and is 3"):
        config.component("framing", ComponentSettings(type="length_prefix", size=3))


def test_a_component_whose_import_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(kind: str, name: str) -> None:
        raise ModuleNotFoundError(f"No module named 'needed by {kind}.{name}'")

    monkeypatch.setattr("streamd.registry.load", failing)

    with pytest.raises(ConfigError, match="cannot be loaded: ModuleNotFoundError: No module named"):
        config.component("codecs", ComponentSettings(type="json"))


words = st.sampled_from(
    ["type", "udp", "tcp", "listen", "sources", "sinks", "steps", "main", "codec", "json", "schema", "buffer",
     "name", "where", "framing", "127.0.0.1:1", "filter", "max_bytes", "reading", "int"]
)  # fmt: skip
hostile = st.recursive(
    words | st.integers(0, 3) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=20,
)
kinds = st.sampled_from(["daemon", "log", "admin", "schemas", "sources", "pipelines", "sinks", "else"])


@given(st.dictionaries(kinds, hostile | st.dictionaries(words, hostile, max_size=3), max_size=5))
def test_no_document_ends_in_anything_but_problems_with_lines(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]
) -> None:
    text = tomlkit.dumps(document)
    tomllib.loads(text)
    path = written(tmp_path_factory.getbasetemp(), text)

    try:
        config.load(path)
    except ConfigError as error:
        lines = text.count("\n") + 1
        for line in str(error).splitlines():
            where, rest = line.removeprefix(f"{path}:").split(": ", 1)
            assert 1 <= int(where) <= lines
            assert rest


def test_errors_found_later_are_told_with_their_lines(tmp_path: Path) -> None:
    loaded = config.load(written(tmp_path, MINIMAL))

    error = loaded.error(
        [config.Problem(("sinks", "records", "path"), "why"), config.Problem(("sources", "lab"), "x")]
    )

    path = os.fspath(tmp_path / "c.toml")
    assert str(error) == f"{path}:1: sources.lab: x\n{path}:7: sinks.records.path: why"
