import asyncio
import contextlib
import itertools
import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from pydantic import ValidationError

from streamd.core.ack import Ack
from streamd.core.acks import Acks
from streamd.core.batch import Batch
from streamd.core.contracts import SinkContext
from streamd.core.errors import ConfigError, EnvironmentFault, SinkError
from streamd.core.shared import Shared
from streamd.core.tenure import InputPart, Tenure
from streamd.sinks.nats import Nats
from tests.nats_server import (
    MISSING,
    NatsServer,
    add_stream,
    api,
    contents,
    needs_server,
    new_name,
    shared_server,
)

BatchOf = Callable[..., Batch]

NOWHERE = {"servers": ["127.0.0.1:1"], "stream": "records", "subject": "records"}
LOGIN = {"user": "edge", "password": "nats.password"}
OPTIONS = [
    NOWHERE | LOGIN,
    NOWHERE | LOGIN | {"subject": "r.{partition}", "partitions": 3, "partition_by": ["n"]},
]
"""What the suites of all sinks run."""
REFUSALS: dict[str, Callable[[Path], Any]] = {} if MISSING else {
    "nats.password cannot be read": lambda _: None,
    "nats.password is empty": lambda state: (state.parent / "nats.password").write_text("\n"),
}  # fmt: skip

pytestmark = needs_server


@contextlib.asynccontextmanager
async def peer(folder: Path) -> AsyncIterator[dict[str, Any]]:
    """A stream of its own on a server that all tests share."""
    if MISSING:
        pytest.skip(MISSING)
    (folder / "nats.password").write_text("secret")
    name = new_name()
    yield {
        "servers": [shared_server().address],
        "stream": name,
        "subject": f"{name}.{{partition}}",
        "password": str(folder / "nats.password"),
        "create": {"max_bytes": "16MiB"},
    }


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Callable[..., NatsServer]]:
    """Starts a server that the test may disturb."""
    started: list[NatsServer] = []

    def start(more: str = "") -> NatsServer:
        started.append(NatsServer(tmp_path / f"server{len(started)}", more))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
async def sink(bench: Any, tmp_path: Path) -> AsyncIterator[Callable[..., Nats]]:
    opened: list[Nats] = []

    def make(server: NatsServer, **config: Any) -> Nats:
        settings = {"type": "nats", "servers": [server.address], "stream": "records", "subject": "records"}
        context = SinkContext("out", {}, tmp_path, bench.office, Shared(), base_dir=tmp_path)
        opened.append(Nats(Nats.Config.model_validate(settings | config), context))
        return opened[-1]

    yield make
    for one in opened:
        await one.close()


async def written(out: Nats, batches: list[Batch]) -> list[str]:
    """Write the batches as a delivery does, with short pauses; the reasons of the attempts that failed."""
    reasons = []
    async with asyncio.timeout(60):
        while True:
            try:
                await out.write(batches)
            except SinkError as error:
                reasons.append(error.reason)
                await asyncio.sleep(0.05)
            else:
                return reasons


def records_in(messages: list[Any]) -> list[Any]:
    return [json.loads(line) for message in messages for line in message.data.splitlines()]


async def test_a_message_holds_many_records_each_on_a_line(sink: Any, batch_of: BatchOf) -> None:
    server, name = shared_server(), new_name()
    out = sink(server, stream=name, subject=name, max_message_records=3, create={"max_bytes": "1MiB"})
    await out.open()
    result = await out.write(
        [batch_of([{"n": 1}, {"n": float("nan")}, {"n": 2}]), batch_of([{"n": 3}, {"n": 4}])]
    )
    assert result.rejected_counts == [1, 0]
    messages = await contents(server, name)
    assert [message.data for message in messages] == [b'{"n":1}\n{"n":2}\n{"n":3}\n', b'{"n":4}\n']
    assert {message.subject for message in messages} == {name}
    ids = [message.headers["Nats-Msg-Id"] for message in messages]
    assert len(set(ids)) == 2
    assert [message.headers["Streamd-Records"] for message in messages] == ["3", "1"]
    assert out.context.counters.numbers() == {"messages": 2}


async def test_records_of_a_key_are_in_one_partition_in_order(
    sink: Any, bench: Any, batch_of: BatchOf
) -> None:
    server, name = shared_server(), new_name()
    out = sink(
        server,
        stream=name,
        subject=f"{name}.{{partition}}",
        partitions=4,
        partition_by=["sensor"],
        max_message_records=7,
        create={"max_bytes": "1MiB", "retention": "limits", "max_age": "1h", "duplicate_window": "1m"},
    )
    await out.open()
    batches = [
        batch_of([{"sensor": f"s{n % 9}", "n": n} for n in range(at, at + 100)]) for at in (0, 100, 200)
    ]
    batches.append(batch_of([{"n": 300}, {"sensor": None}, {"sensor": "s0", "n": 301}]))
    result = await out.write(batches)
    assert result.rejected == [[], [], [], [0, 1]]
    assert [letter.reason for letter in bench.office.letters] == ["key:missing"] * 2
    found: dict[str, list[int]] = {}
    for message in await contents(server, name):
        for record in records_in([message]):
            partition = crc32(record["sensor"].encode()) % 4
            assert message.subject == f"{name}.{partition}"
            found.setdefault(record["sensor"], []).append(record["n"])
    assert sorted(itertools.chain(*found.values())) == [*range(300), 301]
    assert all(numbers == sorted(numbers) for numbers in found.values())
    config = (await api(server, f"STREAM.INFO.{name}"))["config"]
    assert (config["discard"], config["retention"], config["max_bytes"]) == ("new", "limits", 2**20)
    assert (config["max_age"], config["duplicate_window"]) == (3600 * 10**9, 60 * 10**9)


async def test_a_message_is_bounded_by_bytes_and_a_longer_record_is_a_dead_letter(
    sink: Any, bench: Any, batch_of: BatchOf, own_server: Any
) -> None:
    server = own_server("max_payload: 4096")
    out = sink(server, create={"max_bytes": "1MiB"})
    await out.open()
    long = {"text": "x" * 4096}
    result = await out.write(
        [batch_of([{"n": n, "text": "x" * 1000} for n in range(10)] + [long, {"n": 10}])]
    )
    assert result.rejected == [[10]]
    (letter,) = bench.office.letters
    assert (letter.reason, letter.payload) == ("too_long", long)
    messages = await contents(server, "records")
    assert [record["n"] for record in records_in(messages)] == list(range(11))
    assert 4 <= len(messages) <= 6
    assert all(len(message.data) <= 4096 for message in messages)


async def test_a_stream_with_a_bound_for_messages_bounds_them_too(sink: Any, batch_of: BatchOf) -> None:
    server, name = shared_server(), new_name()
    await add_stream(server, name, [name], max_msg_size=2000)
    out = sink(server, stream=name, subject=name)
    await out.open()
    result = await out.write([batch_of([{"text": "x" * 900}] * 5 + [{"text": "x" * 1990}])])
    assert result.rejected == [[5]]
    assert len(records_in(await contents(server, name))) == 5


async def test_a_full_stream_makes_the_sink_wait_and_nothing_is_lost_or_twice(
    sink: Any, batch_of: BatchOf
) -> None:
    server, name = shared_server(), new_name()
    await add_stream(server, name, [name], max_msgs=2)
    out = sink(server, stream=name, subject=name, max_message_records=1)
    await out.open()
    batches = [batch_of([{"n": n} for n in range(5)])]
    for _ in range(2):
        with pytest.raises(SinkError, match="maximum messages exceeded") as refused:
            await out.write(batches)
        assert refused.value.reason == "stream_full"
    assert out.trouble is not None
    assert records_in(await contents(server, name)) == [{"n": 0}, {"n": 1}]
    config = (await api(server, f"STREAM.INFO.{name}"))["config"]
    await api(server, f"STREAM.UPDATE.{name}", config | {"max_msgs": -1})
    assert await written(out, batches) == []
    assert out.trouble is None
    assert records_in(await contents(server, name)) == [{"n": n} for n in range(5)]
    assert out.context.counters.numbers() == {"messages": 5}


async def test_a_stream_that_is_full_in_bytes_is_full(sink: Any, batch_of: BatchOf) -> None:
    server, name = shared_server(), new_name()
    out = sink(server, stream=name, subject=name, max_message="1KiB", create={"max_bytes": "4KiB"})
    await out.open()
    with pytest.raises(SinkError, match="stream_full"):
        await out.write([batch_of([{"text": "x" * 500}]) for _ in range(100)])


async def test_a_restart_of_the_server_under_load_loses_and_repeats_nothing(
    sink: Any, batch_of: BatchOf, own_server: Any
) -> None:
    server = own_server()
    out = sink(
        server,
        subject="records.{partition}",
        partitions=3,
        partition_by=["k"],
        max_message_records=5,
        create={"max_bytes": "10MiB"},
    )
    await out.open()
    reasons = []
    for turn in range(20):
        batches = [batch_of([{"k": n % 7, "n": n} for n in range(turn * 100, turn * 100 + 100)])]
        if turn % 5 == 2:
            writing = asyncio.ensure_future(written(out, batches))
            await asyncio.sleep(0)
            server.stop()
            server.start()
            reasons += await writing
        else:
            reasons += await written(out, batches)
    assert set(reasons) <= {"disconnected", "connect", "no_stream", "no_answer"}
    records = records_in(await contents(server, "records"))
    assert sorted(record["n"] for record in records) == list(range(2000))
    for key in range(7):
        numbers = [record["n"] for record in records if record["k"] == key]
        assert numbers == sorted(numbers)


async def test_a_message_whose_acknowledgement_was_lost_is_stored_once(
    sink: Any, batch_of: BatchOf, own_server: Any
) -> None:
    server = own_server()
    out = sink(server, ack_timeout="300ms", create={"max_bytes": "1MiB"})
    await out.open()
    batches = [batch_of([{"n": 1}])]
    server.pause()
    with pytest.raises(SinkError) as hung:
        await out.write(batches)
    assert hung.value.reason == "no_answer"
    server.go_on()
    assert set(await written(out, batches)) <= {"no_answer", "disconnected", "connect"}
    assert records_in(await contents(server, "records")) == [{"n": 1}]
    assert out.context.counters.numbers() == {"messages": 1, "duplicates": 1}


async def test_a_message_sent_again_after_the_duplicate_window_is_counted(
    sink: Any, batch_of: BatchOf, own_server: Any
) -> None:
    server = own_server()
    out = sink(server, ack_timeout="300ms", create={"max_bytes": "1MiB", "duplicate_window": "100ms"})
    await out.open()
    batches = [batch_of([{"n": 1}])]
    server.pause()
    with pytest.raises(SinkError):
        await out.write(batches)
    server.go_on()
    await written(out, batches)
    assert out.context.counters.numbers()["resent_late"] == 1
    assert 1 <= len(await contents(server, "records")) <= 2


async def test_servers_that_cannot_be_reached_at_the_start_are_tried_later(
    sink: Any, batch_of: BatchOf, own_server: Any
) -> None:
    server = own_server()
    await add_stream(server, "records", ["records"])
    server.stop()
    out = sink(server)
    out.rehearse()
    await out.open()
    assert out.trouble is not None
    assert out.trouble[0] == "connect"
    batches = [batch_of([{"n": 1}])]
    with pytest.raises(SinkError, match="connect"):
        await out.write(batches)
    server.start()
    assert set(await written(out, batches)) <= {"connect", "no_stream", "no_answer"}
    assert records_in(await contents(server, "records")) == [{"n": 1}]


async def test_the_next_server_is_used_if_one_is_gone(sink: Any, batch_of: BatchOf, own_server: Any) -> None:
    one, other = own_server(), own_server()
    for server in (one, other):
        await add_stream(server, "records", ["records"])
    out = sink(one, servers=[one.address, other.address])
    await out.open()
    await out.write([batch_of([{"n": 1}])])
    one.stop()
    await written(out, [batch_of([{"n": 2}])])
    assert records_in(await contents(other, "records")) == [{"n": 2}]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "there is no stream NAME: run nats stream add NAME --subjects 'NAME' --discard new"),
        ({"discard": "old", "subjects": ["NAME"]}, "run nats stream edit NAME --discard new"),
        (
            {"subjects": ["NAME.other"]},
            "does not take the subject NAME: run nats stream edit NAME --subjects",
        ),
        ({"subjects": ["NAME"], "no_ack": True}, "run nats stream edit NAME --ack"),
    ],
)
async def test_a_stream_that_would_lose_records_is_refused_at_the_start_and_by_check(
    more: dict[str, Any], words: str, sink: Any
) -> None:
    server, name = shared_server(), new_name()
    if more:
        subjects = [text.replace("NAME", name) for text in more.pop("subjects")]
        await add_stream(server, name, subjects, **more)
    out = sink(server, stream=name, subject=name)
    with pytest.raises(EnvironmentFault) as refused:
        await out.open()
    assert words.replace("NAME", name) in str(refused.value)
    with pytest.raises(EnvironmentFault) as rehearsed:
        out.rehearse()
    assert str(rehearsed.value) == str(refused.value)


async def test_a_rehearsal_makes_no_stream(sink: Any) -> None:
    server, name = shared_server(), new_name()
    assert sink(server, stream=name, subject=name, create={"max_bytes": "1MiB"}).rehearse() == []
    assert "error" in await api(server, f"STREAM.INFO.{name}")


async def test_a_login_is_read_from_a_file_again_for_each_connection(
    sink: Any, batch_of: BatchOf, own_server: Any, tmp_path: Path
) -> None:
    def users(password: str) -> str:
        return f'authorization {{ user: edge, password: "{password}" }}'

    server = own_server(users("first"))
    (tmp_path / "nats.password").write_text("wrong\n")
    out = sink(server, create={"max_bytes": "1MiB"}, **LOGIN)
    with pytest.raises(
        EnvironmentFault, match=r"sink out: 127.0.0.1:\d+: the server refuses the login"
    ) as refused:
        await out.open()
    assert "wrong" not in str(refused.value)
    with pytest.raises(EnvironmentFault, match="refuses the login"):
        out.rehearse()
    (tmp_path / "nats.password").write_text("first\n")
    await out.open()
    await out.write([batch_of([{"n": 1}])])
    server.stop()
    server.start(users("second"))
    batches = [batch_of([{"n": 2}])]
    for reason in ("disconnected", "unauthorized"):
        with pytest.raises(SinkError) as failed:
            await out.write(batches)
        assert failed.value.reason in (reason, "unauthorized")
    (tmp_path / "nats.password").write_text("second\n")
    await written(out, batches)


async def test_a_token_is_a_login(sink: Any, own_server: Any, tmp_path: Path) -> None:
    server = own_server('authorization { token: "abc" }')
    (tmp_path / "nats.token").write_text("abc\n")
    await sink(server, token="nats.token", create={"max_bytes": "1MiB"}).open()  # noqa: S106 - a file
    (tmp_path / "nats.token").write_text("abd\n")
    with pytest.raises(EnvironmentFault, match="refuses the login"):
        await sink(server, token="nats.token").open()  # noqa: S106 - a file


async def test_an_nkey_is_a_login(sink: Any, own_server: Any, tmp_path: Path) -> None:
    import nkeys  # noqa: PLC0415 - it may be missing

    seed = nkeys.encode_seed(bytes(range(32)), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    server = own_server(f"authorization {{ users: [ {{ nkey: {public} }} ] }}")
    (tmp_path / "nats.nk").write_bytes(seed + b"\n")
    await sink(server, nkey="nats.nk", create={"max_bytes": "1MiB"}).open()
    (tmp_path / "nats.nk").write_bytes(b"SUABC\n")
    with pytest.raises(EnvironmentFault, match=r"nats\.nk holds no seed of an nkey") as refused:
        await sink(server, nkey="nats.nk").open()
    assert "SUABC" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [("x", "BEGIN NATS USER JWT"), ("-----BEGIN NATS USER JWT-----\nx\n", "BEGIN USER NKEY SEED")],
)
async def test_a_file_without_credentials_is_named(text: str, words: str, sink: Any, tmp_path: Path) -> None:
    (tmp_path / "edge.creds").write_text(text)
    with pytest.raises(EnvironmentFault, match=f'edge.creds is no file of credentials: it has no "{words}"'):
        await sink(shared_server(), credentials="edge.creds").open()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"servers": []}, "at least 1 item"),
        ({"servers": ["nats://127.0.0.1:4222"]}, 'write "127.0.0.1:4222"'),
        ({"servers": ["edge:secret@127.0.0.1:4222"]}, "the options user and password hold the login"),
        ({"servers": ["127.0.0.1:0"]}, "port 0"),
        ({"servers": ["a:1", "a:1"]}, "named twice"),
        ({"subject": "a.*"}, "pattern"),
        ({"subject": "a..b"}, "pattern"),
        ({"subject": "$JS.API"}, "pattern"),
        ({"stream": "a.b"}, "pattern"),
        ({"partitions": 2, "subject": "a.{partition}"}, "partition_by"),
        ({"partitions": 2, "partition_by": ["k"]}, "the subject needs {partition}, like records.{partition}"),
        ({"partition_by": ["k"]}, "set partitions"),
        ({"partitions": 2, "subject": "a.{partition}", "partition_by": ['meta("peer")']}, "copy metadata"),
        ({"user": "u"}, "user and password belong together"),
        ({"token": "t", "nkey": "n"}, "two logins"),
        ({"create": {}}, "max_bytes"),
    ],
)
def test_what_cannot_work_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(words)):
        Nats.Config.model_validate({"type": "nats"} | NOWHERE | config)


def test_without_the_package_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, bench: Any, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "streamd.jetstream.publisher", None)
    with pytest.raises(ConfigError, match=r"pip install 'streamd-daemon\[nats\]'"):
        Nats(
            Nats.Config.model_validate({"type": "nats"} | NOWHERE),
            SinkContext("out", {}, tmp_path, bench.office, Shared()),
        )


def of_file(batch: Batch, first: int, tenure: Tenure) -> Batch:
    """The batch as records of lines of a file, one of each."""
    batch.acks = Acks([(len(batch), Ack(lambda _: None, InputPart(tenure, first, frames=len(batch))))])
    return batch


async def test_records_of_a_file_that_are_in_the_stream_are_left_out_by_the_next_process(
    sink: Any, batch_of: BatchOf
) -> None:
    server, name = shared_server(), new_name()
    options = {"stream": name, "subject": name, "max_message_records": 2, "create": {"max_bytes": "1MiB"}}
    before, tenure = sink(server, **options), Tenure("log", is_shared=False)
    await before.open()
    assert before.stored_frames("log") == set()
    await before.write([of_file(batch_of([{"n": n} for n in range(1, 4)]), 1, tenure)])
    assert before.stored_frames("log") == {3}
    out, tenure = sink(server, **options), Tenure("log", is_shared=False)
    await out.open()
    assert out.stored_frames("log") == {3}
    assert out.stored_frames("other") == set()
    again = of_file(batch_of([{"n": n} for n in range(1, 4)]), 1, tenure)
    written = await out.write([again, of_file(batch_of([{"n": 4}]), 4, tenure), batch_of([{"n": 5}])])
    assert written.left_out == [dict.fromkeys(range(3), "already_stored"), {}, {}]
    assert records_in(await contents(server, name)) == [{"n": n} for n in range(1, 6)]


async def test_a_state_folder_that_takes_no_outbox_makes_the_sink_wait(
    sink: Any, batch_of: BatchOf, bench: Any, tmp_path: Path
) -> None:
    server, name = shared_server(), new_name()
    out = sink(server, stream=name, subject=name, create={"max_bytes": "1MiB"})
    await out.open()
    (tmp_path / "outbox").write_text("no folder")
    batches = [
        of_file(batch_of([{"n": 1}]), 1, Tenure("log", is_shared=False)),
        batch_of([{"n": float("nan")}]),
    ]
    for _ in range(2):
        with pytest.raises(SinkError, match=r"the outbox .*/outbox/out.* cannot be used") as refused:
            await out.write(batches)
        assert refused.value.reason == "outbox"
    (tmp_path / "outbox").unlink()
    await out.write(batches)
    assert records_in(await contents(server, name)) == [{"n": 1}]
    assert len(bench.office.letters) == 1
    (tmp_path / "outbox" / "out.a").unlink(missing_ok=True)
    (tmp_path / "outbox" / "out.a").mkdir()
    with pytest.raises(EnvironmentFault, match=r"sink out: the outbox .*out\.a cannot be used"):
        sink(server, stream=name, subject=name).stored_frames("log")
