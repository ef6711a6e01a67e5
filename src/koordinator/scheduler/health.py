"""``/healthz``, ``/livez`` and ``/readyz``, as kube components answer them: checks by name, ``?verbose``, ``?exclude=NAME``."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiohttp import web

Check = Callable[[], str]
"""What is wrong; nothing when all is well."""


def ping() -> str:
    return ""


def add_health_routes(routes: web.Application, name: str, checks: Mapping[str, Check]) -> None:
    """``/NAME`` asks all checks, ``/NAME/CHECK`` one."""
    routes.router.add_get(f"/{name}", _all(name, checks))
    for check in checks:
        routes.router.add_get(f"/{name}/{check}", _one(checks[check]))


def _all(name: str, checks: Mapping[str, Check]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        excluded = request.query.getall("exclude", [])
        wrong = {check: "" if check in excluded else ask() for check, ask in checks.items()}
        lines = [_line(check, why, excluded) for check, why in wrong.items()]
        if any(wrong.values()):
            return web.Response(status=500, text="\n".join([*lines, f"{name} check failed", ""]))
        return web.Response(text="\n".join([*lines, f"{name} check passed", ""]) if "verbose" in request.query else "ok")

    return answer


def _line(check: str, why: str, excluded: Sequence[str]) -> str:
    if check in excluded:
        return f"[+]{check} excluded: ok"
    return f"[-]{check} failed: {why}" if why else f"[+]{check} ok"


def _one(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        why = check()
        return web.Response(status=500, text=f"internal server error: {why}\n") if why else web.Response(text="ok")

    return answer
