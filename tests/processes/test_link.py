"""What a process is given at its start, and what it does without its leading process."""

import asyncio
import os
import socket

import pytest

from streamd.admin.view import View
from streamd.core.books import Books
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.settings import Address
from streamd.processes.link import (
    VARIABLE,
    Assignment,
    Given,
    Process,
    Reloaded,
    ReloadRequest,
    Report,
    StopRequest,
    assigned,
    encoded,
    received,
)
from streamd.processes.shared_numbers import SharedNumbers
from streamd.reload.changes import Changes
from streamd.service.announcer import Announcer
from tests.admin.conftest import World


def linked(assignment: Assignment) -> tuple[socket.socket, Process]:
    """The leading process's end of a link, and the process at the other end."""
    ours, its = socket.socketpair()
    ours.sendall(encoded(assignment))
    environ = {VARIABLE: str(its.detach())}
    process = assigned(environ)
    assert process is not None
    assert VARIABLE not in environ, "no program that the process starts may take it for its own"
    return ours, process


def announcer(view: View) -> Announcer:
    return Announcer(view, lambda _: (), 30.0, send=lambda *_: True)


def test_a_daemon_without_the_variable_is_no_part_of_several() -> None:
    assert assigned({}) is None
    assert assigned({VARIABLE: "x"}) is None


def test_what_follows_the_assignment_is_left_for_the_process() -> None:
    """A stop may be sent before the process has read what it is."""
    ours, its = socket.socketpair()
    with ours:
        ours.sendall(encoded(Assignment(1, 2, "abc-1")) + encoded(StopRequest(True)))
        process = assigned({VARIABLE: str(its.detach())})
        assert process is not None
        assert process._link.recv(4096) == encoded(StopRequest(True))
        process._link.close()


def test_a_process_whose_leading_process_ends_at_once_does_not_begin() -> None:
    ours, its = socket.socketpair()
    ours.sendall(encoded(Assignment(1, 2, "abc-1"))[:-1])
    ours.close()
    with pytest.raises(EnvironmentFault, match="the leading process has ended"):
        assigned({VARIABLE: str(its.detach())})


def test_a_run_of_another_process_is_beside_and_an_earlier_one_of_its_own_is_not() -> None:
    ours, process = linked(Assignment(1, 3, "abc-1.2"))
    with ours:
        assert process.runs_beside("abc-0")
        assert process.runs_beside("abc-2.7")
        assert not process.runs_beside("abc-1")
        assert not process.runs_beside("abc-1.1")
        assert not process.runs_beside("def-0"), "of an earlier start"
        assert not process.runs_beside("abc"), "of a daemon with one process"
        process._link.close()


def test_the_given_sockets_are_found_by_the_configured_address() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        wanted = Address("127.0.0.1", 0)
        given = Given(wanted, socket.SOCK_STREAM, socket.dup(listening.fileno()))
        ours, process = linked(Assignment(0, 2, "abc-0", (given,)))
        with ours:
            sockets = process.sockets()
            taken, address = sockets.take(wanted, socket.SOCK_STREAM, "source floor")
            assert address == Address(*listening.getsockname())
            assert not sockets.give_back(wanted, socket.SOCK_STREAM), "another process takes it over"
            taken.close()
            sockets.is_last = True
            taken, _ = sockets.take(wanted, socket.SOCK_STREAM, "source floor")
            assert sockets.give_back(wanted, socket.SOCK_STREAM)
            taken.close()
            sockets.close()
            process._link.close()


def test_its_books_and_its_reads_are_in_memory_that_outlives_it() -> None:
    numbers = SharedNumbers()
    assignment = Assignment(1, 2, "abc-1", numbers=os.dup(numbers.fd), counted_drops={"lab": 7})
    ours, process = linked(assignment)
    with ours:
        process.books().source("lab").received += 3
        notes = process.sockets().notes("lab")
        assert notes is not None
        assert notes.counted_drops == 7
        assert dict(numbers.items())["frames", "lab", "received"] == 3
        again = process.sockets().notes("lab")
        assert again is notes
        assert again.counted_drops is None, "it has counted drops itself meanwhile"
        process._link.close()
    os.close(numbers.fd)


def test_without_that_memory_its_books_are_plain() -> None:
    ours, process = linked(Assignment(1, 2, "abc-1"))
    with ours:
        assert type(process.books()) is Books
        assert process.sockets().notes("lab") is None
        process._link.close()


async def test_it_reports_reloads_and_stops_and_reports_a_last_time() -> None:
    ours, process = linked(Assignment(0, 2, "abc-0"))
    reader, writer = await asyncio.open_connection(sock=ours)
    world, stopped = World(), asyncio.Event()

    async def reload(dry_run: bool) -> Changes:
        if not dry_run:
            raise ConfigError("a.toml:1: wrong")
        return Changes(sources={"kept": ["floor"]})

    await process.attach(world.view, announcer(world.view))
    running = asyncio.create_task(process.run(reload, lambda is_last: stopped.set() if is_last else None))
    first = await received(reader)
    assert isinstance(first, Report)
    assert first.snapshot.phase == "running"
    writer.write(
        encoded(ReloadRequest(dry_run=True))
        + encoded(ReloadRequest(dry_run=False))
        + encoded(StopRequest(is_last=True))
    )
    answers: list[Reloaded] = []
    while len(answers) < 2:
        if isinstance(message := await received(reader), Reloaded):
            answers.append(message)
    assert answers == [
        Reloaded(Changes(sources={"kept": ["floor"]})),
        Reloaded(refusal="a.toml:1: wrong", is_config=True),
    ]
    await stopped.wait()
    running.cancel()
    await asyncio.wait({running})
    world.books.source("lab").received = 7
    await process.finish(world.view)
    while not (message := await received(reader)).is_last:
        assert isinstance(message, Report)
    assert message.snapshot.books.source("lab").received == 7
    assert await received(reader) is None
    writer.close()


async def test_without_the_leading_process_it_stops() -> None:
    ours, process = linked(Assignment(0, 2, "abc-0"))
    world, stopped = World(), asyncio.Event()

    async def reload(dry_run: bool) -> Changes:
        raise EnvironmentFault(str(dry_run))

    await process.attach(world.view, announcer(world.view))
    running = asyncio.create_task(process.run(reload, lambda is_last: stopped.set() if is_last else None))
    ours.close()
    await stopped.wait()
    running.cancel()
    await asyncio.wait({running})
    await process.finish(world.view)
