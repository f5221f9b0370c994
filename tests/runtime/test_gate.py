import asyncio

import pytest

from streamd.runtime.gate import Gate


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_under_way_ends_before_the_look_and_nothing_begins_meanwhile() -> None:
    gate = Gate()
    seen: list[str] = []

    async def look() -> None:
        async with gate.shut():
            seen.append("look")
            await turns()
            seen.append("looked")

    async def batch() -> None:
        await gate.opened()
        with gate:
            seen.append("batch")

    with gate, gate:
        looking = asyncio.create_task(look())
        await turns()
        assert gate.is_shut
        assert seen == []
        waiting = asyncio.create_task(batch())
        await turns()
        assert seen == []
    await asyncio.gather(looking, waiting)
    assert seen == ["look", "looked", "batch"]
    assert not gate.is_shut
    assert gate.under_way == 0


async def test_one_look_waits_for_the_other() -> None:
    gate = Gate()
    inside = 0

    async def look() -> None:
        nonlocal inside
        async with gate.shut():
            inside += 1
            assert inside == 1
            await turns()
            inside -= 1

    await asyncio.gather(look(), look(), look())
    assert not gate.is_shut


async def test_what_fails_leaves_the_gate_open() -> None:
    gate = Gate()
    with pytest.raises(RuntimeError):
        async with gate.shut():
            raise RuntimeError
    with pytest.raises(RuntimeError), gate:
        raise RuntimeError
    async with asyncio.timeout(30), gate.shut():
        pass
    assert not gate.is_shut


async def test_a_look_that_is_given_up_while_it_waits_lets_batches_on() -> None:
    gate = Gate()
    with gate:
        looking = asyncio.create_task(gate.shut().__aenter__())
        await turns()
        looking.cancel()
        await asyncio.wait({looking})
        assert not gate.is_shut
        await gate.opened()
