import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.routing import Route

from streamd.admin import openapi
from streamd.admin.backing import Backing
from streamd.admin.routes import Routes
from streamd.admin.server import AdminServer
from streamd.admin.watch import Watch
from tests.admin.test_server import get

DESCRIBED = {
    (method, path): operation
    for path, operations in openapi.document()["paths"].items()
    for method, operation in operations.items()
}


@pytest.fixture
def routes(world: Any, backing: Callable[..., Backing]) -> Routes:
    return Routes(world.view, Watch(world.view), backing(), everyone=True)


def of(routes: list[Route]) -> Iterator[tuple[str, str]]:
    for route in routes:
        for method in (route.methods or set()) - {"HEAD"}:
            yield method.lower(), re.sub(r":\w+\}", "}", route.path)


def test_every_route_is_described_and_no_other(routes: Routes) -> None:
    every = {*of([*routes.public, *routes.health, *routes.live, *routes.protected])}
    every.add(("get", "/dead-letters/count"))  # one of the names of a letter's route
    assert set(DESCRIBED) == every


def test_what_any_request_may_get_is_described_everywhere() -> None:
    for place, operation in DESCRIBED.items():
        assert {"200", "400", "401", "431"} <= operation["responses"].keys(), place


def test_what_needs_the_token_says_so(routes: Routes) -> None:
    protected = {*of(routes.protected), ("get", "/dead-letters/count")}
    says_so = {place for place, operation in DESCRIBED.items() if operation["security"] == [{"token": []}]}
    assert says_so == protected


async def test_the_parameters_are_those_that_the_routes_know(make_server: Callable[..., AdminServer]) -> None:
    server = make_server()
    await server.open()
    try:
        for (method, path), operation in DESCRIBED.items():
            names = {one["name"] for one in operation["parameters"] if one["in"] == "query"}
            target = path.replace("{name}", "1") + "?none-such=1"
            right = f"Bearer {server.token.text}"
            code, body, _ = await get(server, target, method.upper(), Authorization=right)
            assert (code, body.startswith(b"none-such is no parameter here; there are ")) == (400, True), path
            assert {*body.decode().strip().partition("there are ")[2].split(", ")} - {"none"} == names, path
    finally:
        await server.close()


async def test_it_is_served(server: AdminServer) -> None:
    code, body, headers = await get(server, "/openapi.json")
    assert (code, headers["Content-Type"]) == (200, "application/json")
    assert b'"openapi": "3.1.0"' in body
