"""What holds for every source, those of other packages too."""

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from streamd import registry
from streamd.core.ack import Status
from streamd.core.contracts import AnySource, SourceContext
from streamd.core.counters import Counters
from streamd.core.errors import EnvironmentFault
from streamd.core.settings import Address, SourceSettings
from streamd.net.sockets import ListeningSockets

Until = Callable[[Callable[[], bool]], Awaitable[None]]

LISTEN = "127.0.0.1:0"
OPTIONS: dict[str, dict[str, Any]] = {
    "file": {"path": "app.log"},
    "generate": {"rate": 1000.0},
    "tcp": {"listen": LISTEN},
    "udp": {"listen": LISTEN},
    "unix": {"path": "in.sock"},
    "knock": {"door": LISTEN},
}
"""The least that each type needs; nothing for a type that is not here."""
TYPES = [*registry.names("sources"), "knock"]

pytestmark = pytest.mark.usefixtures("other_package")


def config_of(kind: str, **more: Any) -> SourceSettings:
    config: SourceSettings = registry.load("sources", kind).Config.model_validate(
        {"type": kind} | OPTIONS.get(kind, {}) | more
    )
    return config


def made(kind: str, folder: Path, sockets: ListeningSockets | None = None, **more: Any) -> AnySource:
    config = config_of(kind, **more)
    cut = config.cut_by
    framing = registry.load("framing", cut.framing.type) if cut else None

    def new_framer() -> Any:
        assert framing is not None
        assert cut is not None
        return framing(framing.Config(), cut.max_frame, cut.oversize)

    (folder / "app.log").touch()
    cls = registry.load("sources", kind)
    context = SourceContext(
        "lab",
        Counters(),
        new_framer if cut else None,
        folder,
        folder,
        sockets,
        cls.read_files(config, folder),
    )
    source: AnySource = cls(config, context)
    return source


def sent_to(source: AnySource, folder: Path) -> None:
    """One frame by the way that the source takes them."""
    if source.config.type == "file":
        with (folder / "app.log").open("ab") as file:
            file.write(b'{"n":1}\n')
        return
    for endpoint in source.config.endpoints:
        kind = socket.SOCK_DGRAM if endpoint.kind == "udp" else socket.SOCK_STREAM
        family = socket.AF_UNIX if endpoint.kind == "unix" else socket.AF_INET
        at: Any = str(source.address) if endpoint.kind == "unix" else tuple(source.address)
        with socket.socket(family, kind) as sender:
            sender.connect(at)
            sender.sendall(b'{"n":1}\n')


def open_files_now() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def files_in(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*"))


@pytest.mark.parametrize("kind", TYPES)
def test_every_option_has_a_description_and_goes_round_through_json(kind: str) -> None:
    config = config_of(kind)
    fields = type(config).model_fields
    assert not [name for name, info in fields.items() if not info.description]
    again = config.model_dump(mode="json", by_alias=True, include=set(OPTIONS.get(kind, {})))
    assert set(again) == set(OPTIONS.get(kind, {}))
    assert config_of(kind) == config


@pytest.mark.parametrize("kind", TYPES)
async def test_what_comes_is_offered_once_and_two_stops_are_one(
    kind: str, capture: Any, until: Until, tmp_path: Path
) -> None:
    source = made(kind, tmp_path)
    await source.open(capture)
    sent_to(source, tmp_path)
    await until(lambda: len(capture.payloads) >= 1)
    await source.stop()
    offered = len(capture.payloads)
    for frames in capture.offered:
        frames.settle(Status.DELIVERED)
    await source.stop()
    assert len(capture.payloads) == offered
    assert kind == "generate" or [payload.rstrip(b"\n") for payload in capture.payloads] == [b'{"n":1}']
    assert not capture.refused


@pytest.mark.parametrize("kind", TYPES)
async def test_stopping_what_was_never_opened_does_nothing(kind: str, tmp_path: Path) -> None:
    source = made(kind, tmp_path)
    before = files_in(tmp_path)
    await source.stop()
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("kind", TYPES)
async def test_a_rehearsal_changes_nothing_and_the_source_opens_afterwards(
    kind: str, capture: Any, tmp_path: Path
) -> None:
    source = made(kind, tmp_path)
    before = files_in(tmp_path)
    open_files = open_files_now()
    source.rehearse()
    assert files_in(tmp_path) == before
    assert open_files_now() == open_files
    await source.open(capture)
    await source.stop()


@pytest.mark.parametrize("kind", TYPES)
async def test_its_endpoints_are_what_it_binds_and_a_rehearsal_says_who_has_them(
    kind: str, capture: Any, tmp_path: Path
) -> None:
    first = made(kind, tmp_path)
    await first.open(capture)
    try:
        for endpoint in first.config.endpoints:
            assert endpoint.key in OPTIONS.get(kind, {})
            if not isinstance(endpoint.at, Address):
                assert (tmp_path / endpoint.at).is_socket()
            taken = str(endpoint.at if endpoint.kind == "unix" else first.address)
            second = made(kind, tmp_path, None, **{endpoint.key: taken})
            with pytest.raises(EnvironmentFault, match="lab"):
                second.rehearse()
            with pytest.raises(EnvironmentFault, match="lab"):
                await second.open(capture)
            await second.stop()
    finally:
        await first.stop()


@pytest.mark.parametrize("kind", TYPES)
async def test_a_stop_gives_back_what_it_held(kind: str, capture: Any, tmp_path: Path) -> None:
    sockets = ListeningSockets()
    source = made(kind, tmp_path, sockets)
    await source.open(capture)
    held = source.config.endpoints
    await source.stop()
    again = made(kind, tmp_path, sockets)
    again.rehearse()
    await again.open(capture)
    await again.stop()
    assert not [one for one in held if one.kind == "unix" and (tmp_path / str(one.at)).exists()]
