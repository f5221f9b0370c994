"""What the daemon asks of a component it finds in the component's declaration, whoever wrote it.

The schemas of `config/brought_schemas.py` are such a declaration.
"""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamd import config as configuration
from streamd.cli import main
from streamd.config.reference import markdown
from streamd.core.errors import ConfigError
from streamd.host.doctor import ports
from streamd.host.doctor.host import Host
from streamd.host.rehearsal import outputs
from streamd.host.units import outside, socket_unit

pytestmark = pytest.mark.usefixtures("other_package")

CONFIG = """
[control]
path = "off"
[sources.hall]
type = "knock"
door = "127.0.0.1:{port}"
[sources.lab]
type = "{other}"
{key} = "{listen}"
[pipelines.main]
sources = ["hall", "lab"]
steps = [{{ type = "tally" }}]
sinks = ["count"]
[sinks.count]
type = "parts"
target = "{target}"
"""


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STREAMD_CONFIG", raising=False)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def written(more: str = "", **given: object) -> Path:
    usual = {"port": 9997, "other": "udp", "key": "listen", "listen": "127.0.0.1:0", "target": "out.txt"}
    path = Path("c.toml")
    path.write_text(CONFIG.format(**usual | given) + more)
    return path


@pytest.mark.parametrize(
    ("other", "key", "at", "collides"),
    [
        ("udp", "listen", "127.0.0.1:9997", True),
        ("udp", "listen", "0.0.0.0:9997", True),
        ("knock", "door", "127.0.0.1:9997", True),
        ("tcp", "listen", "127.0.0.1:9997", False),
        ("udp", "listen", "127.0.0.1:9998", False),
    ],
)
def test_two_listeners_on_one_port_are_found(other: str, key: str, at: str, collides: bool) -> None:
    path = written(other=other, key=key, listen=at)
    if not collides:
        configuration.load(path)
        return
    with pytest.raises(ConfigError, match=rf"sources\.lab\.{key}: udp {at} is taken by sources\.hall"):
        configuration.load(path)


def test_two_unix_sockets_on_one_path_are_found() -> None:
    more = '[sources.door]\ntype = "unix"\npath = "./in.sock"\n'
    more += '[pipelines.two]\nsources = ["door"]\nsinks = ["count"]\n'
    path = written(other="unix", key="path", listen="in.sock", more=more)
    with pytest.raises(ConfigError, match=r"sources\.door\.path: unix \./in\.sock is taken by sources\.lab"):
        configuration.load(path)


def test_check_binds_its_port(taken: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(written(port=taken))]) == 1
    assert f"source hall: cannot listen on 127.0.0.1:{taken}" in capsys.readouterr().err


def test_doctor_looks_at_its_port(taken: int) -> None:
    loaded = configuration.load(written(port=taken))
    assert [finding.severity for finding in ports.look(loaded, Host(Path("c.toml")))] == [
        "problem",
        "fine",
        "fine",
    ]


def test_the_socket_unit_holds_its_port() -> None:
    unit = socket_unit(configuration.load(written()).config)
    assert unit is not None
    assert "# hall\nListenDatagram=127.0.0.1:9997\n" in unit


@pytest.mark.parametrize("kind", ["file", "parts"])
def test_a_file_that_two_sinks_write_is_found(kind: str) -> None:
    key = "target" if kind == "parts" else "path"
    more = f'[sinks.more]\ntype = "{kind}"\n{key} = "./out.txt"\n'
    with pytest.raises(ConfigError, match=rf"sinks\.more\.{key}: sinks\.count writes this file"):
        configuration.load(written(more=more))


def test_what_it_writes_is_an_output_of_the_daemon() -> None:
    loaded = configuration.load(written(target="/srv/counts/out.txt"))
    assert ("sinks.count", Path("/srv/counts/out.txt")) in outputs(loaded)
    assert Path("/srv/counts") in outside(loaded.config)


BROUGHT = """
[control]
path = "off"
[sources.harbour]
type = "udp"
listen = "127.0.0.1:0"
codec = "tide"
schema = "tide"
[pipelines.main]
sources = ["harbour"]
sinks = ["tides"]
[sinks.tides]
type = "sqlite"
schema = "{schema}"
"""


def test_the_schema_that_a_codec_brings_needs_no_table() -> None:
    Path("c.toml").write_text(BROUGHT.format(schema="tide"))
    schema = configuration.load(Path("c.toml")).schemas["tide"]
    assert {name: (field.type, field.required) for name, field in schema.fields.items()} == {
        "height": ("float", True),
        "remark": ("str", False),
    }
    assert schema.fields["height"].ge == -500


def test_a_table_of_the_same_name_is_used_instead() -> None:
    Path("c.toml").write_text(BROUGHT.format(schema="tide") + '[schemas.tide]\nheight = "int"\n')
    schema = configuration.load(Path("c.toml")).schemas["tide"]
    assert {name: field.type for name, field in schema.fields.items()} == {"height": "int"}


def test_a_codec_that_brings_no_schema_is_no_schema() -> None:
    Path("c.toml").write_text(BROUGHT.format(schema="json"))
    with pytest.raises(ConfigError, match=r"sinks.tides.schema: there is no schema \"json\""):
        configuration.load(Path("c.toml"))


def test_the_reference_shows_the_schema_that_a_codec_brings() -> None:
    text = markdown()
    assert "| `height` | float, required, ge = -500.0 |" in text
    assert "| `remark` | str |" in text
