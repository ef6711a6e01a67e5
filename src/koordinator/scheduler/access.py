"""May this caller of the HTTPS port do that? The API server decides, as for other components of Kubernetes.

A caller is known by his client certificate, by the front proxy that speaks for him, or by a bearer token; else he is anonymous.
A few paths are open to all, everything to ``system:masters``, and for the rest the API server is asked.
"""

import logging
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from koordinator.errors import KoordError
from koordinator.kube.reviews import ANONYMOUS, AUTHENTICATED, MASTERS, Reviews, User
from koordinator.scheduler.authorities import Authorities

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

log = logging.getLogger(__name__)

_BEARER = "bearer "


class Gate:
    """Stands before every route of the HTTPS port."""

    def __init__(self, reviews: Reviews, authorities: Authorities, open_paths: tuple[str, ...]) -> None:
        self._reviews, self._authorities = reviews, authorities
        self._open_paths = tuple(path.removeprefix("/") for path in open_paths)

    def middleware(self) -> "Middleware":
        @web.middleware
        async def pass_on(request: web.Request, handler: "Handler") -> web.StreamResponse:
            return await self._refusal(request) or await handler(request)

        return pass_on

    async def _refusal(self, request: web.Request) -> web.Response | None:
        """The answer for a caller who may not; None when he may."""
        verb, path = request.method.lower(), request.path
        try:
            user = await self._caller(request)
            if user is None:
                return _status(401, "Unauthorized", "Unauthorized")
            if self._open(path) or MASTERS in user.groups or await self._reviews.may(user, verb, path):
                return None
        except KoordError as err:
            log.warning("whether somebody may %s %s cannot be told: %s", verb, path, err)
            return _status(500, "InternalError", f'Internal Server Error: "{path}": {err}')
        return _status(403, "Forbidden", f'forbidden: User "{user.name}" cannot {verb} path "{path}"')

    def _open(self, path: str) -> bool:
        """``/healthz``, or ``/healthz/*`` for everything below."""
        plain = path.removeprefix("/")
        return any(plain.startswith(one[:-1]) if one.endswith("*") else plain == one for one in self._open_paths)

    async def _caller(self, request: web.Request) -> User | None:
        """None for one whose credentials are not good. Raises: KoordError."""
        if (peer := request.get_extra_info("peercert")) and (tls := request.get_extra_info("ssl_object")):
            return self._authorities.caller(peer, tls.getpeercert(binary_form=True), request.headers)
        given = request.headers.get("Authorization", "")
        token = given[len(_BEARER) :].strip()
        if given[: len(_BEARER)].lower() != _BEARER or not token:
            return ANONYMOUS
        user = await self._reviews.user_of(token) if token.isascii() else None
        if user is None or AUTHENTICATED in user.groups:
            return user
        return msgspec.structs.replace(user, groups=(*user.groups, AUTHENTICATED))


def _status(code: int, reason: str, message: str) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    told = {**body, "message": message, "reason": reason, "code": code}
    return web.Response(status=code, body=msgspec.json.encode(told), content_type="application/json")
