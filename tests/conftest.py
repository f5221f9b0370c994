"""Every asynchronous test runs on uvloop, as the daemon does; those of the sources on asyncio too."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    del config
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    if "/sources/" in item.nodeid:
        factories["asyncio"] = asyncio.new_event_loop
    return factories
