"""Decides which routes need the token."""

from collections import Counter
from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from streamd.admin.token import Token

_WITHOUT = "this needs the token: send `Authorization: Bearer TOKEN`; `streamd page` prints it\n"
_WRONG = "the token is wrong; `streamd page` prints the right one\n"


class Access:
    """Lets a route answer only requests with the token.

    The check belongs to the route itself, so no spelling of a path leads past it. Other requests get 401 and
    are counted in `refused` as `token`.
    """

    def __init__(self, token: Token, refused: Counter[str]) -> None:
        self._token = token
        self._refused = refused

    def guarded(self, routes: Iterable[Route]) -> list[Route]:
        """The same routes, which need the token."""
        return [self._guard(route) for route in routes]

    def _guard(self, route: Route) -> Route:
        async def endpoint(request: Request) -> Response:
            given = request.headers.getlist("authorization")
            if len(given) != 1 or not self._token.is_in(given[0]):
                self._refused["token"] += 1
                text = _WRONG if given else _WITHOUT
                return PlainTextResponse(text, 401, {"WWW-Authenticate": 'Bearer realm="streamd"'})
            answer: Response = await route.endpoint(request)
            return answer

        methods = route.methods or {"GET"}
        return Route(route.path, endpoint, methods=sorted(methods))
