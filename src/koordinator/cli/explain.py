"""`koord explain`: ask the scheduler why a pod is where it is, or is nowhere, and what a node would take."""

from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from koordinator.cli.options import Data, data_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

A = TypeVar("A")
_SECONDS = 30.0

Output = Annotated[str, typer.Option("-o", "--output", help="json for all there is to know; else text.", show_default=False)]
Server = Annotated[
    str,
    typer.Option(
        help="The scheduler's debug address, e.g. http://10.0.0.7:10251. Default: the one that `koord up` started.",
        show_default=False,
    ),
]


def add_to(app: typer.Typer) -> None:
    verbs = typer.Typer(name="explain", help="Ask the scheduler why: of a pod, of a node.", no_args_is_help=True)
    verbs.command("pod")(pod)
    verbs.command("node")(node)
    app.add_typer(verbs)


def pod(
    name: Annotated[str, typer.Argument(help="NAMESPACE/NAME, or NAME in the namespace default.")],
    data: Data = None,
    server: Server = "",
    output: Output = "",
) -> None:
    """Say why a pod is pending, node by node, and the smallest change that would let it in; or why it is where it is."""
    from koordinator.scheduler.explain import text
    from koordinator.scheduler.explain.answers import PodExplanation

    namespace, _, short = name.rpartition("/")
    answer = _ask(server, data, f"/apis/v1/explain/pods/{namespace or 'default'}/{short}")
    _show(answer, output, PodExplanation, text.of_pod)


def node(
    name: Annotated[str, typer.Argument(help="The node.")],
    data: Data = None,
    server: Server = "",
    output: Output = "",
) -> None:
    """Say what a node holds, and what it has against each pending pod."""
    from koordinator.scheduler.explain import text
    from koordinator.scheduler.explain.answers import NodeExplanation

    _show(_ask(server, data, f"/apis/v1/explain/nodes/{name}"), output, NodeExplanation, text.of_node)


def _show(answer: bytes, output: str, type_: type[A], text: "Callable[[A], str]") -> None:
    import msgspec

    if output == "json":
        typer.echo(msgspec.json.format(answer, indent=2).decode())
    elif output:
        raise typer.BadParameter(f"{output} is not known; json or nothing", param_hint="-o")
    else:
        typer.echo(text(msgspec.json.decode(answer, type=type_)))


def _ask(server: str, data: "Path | None", path: str) -> bytes:
    """Raises Unavailable when the scheduler does not answer, or answers that it cannot tell."""
    import asyncio

    import aiohttp

    from koordinator.errors import Unavailable

    base = (server or _scheduler_of(data)).rstrip("/")

    async def ask() -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(base + path) as response:
            return response.status, await response.read()

    try:
        status, body = asyncio.run(ask())
    except (aiohttp.ClientError, TimeoutError, ValueError) as err:
        raise Unavailable(
            f"scheduler at {base}", str(err) or type(err).__name__, "is it running, and is this its port?"
        ) from err
    if status != 200:
        raise Unavailable("no explanation", _reason(body) or f"{base} answered {status}")
    return body


def _reason(body: bytes) -> str:
    import msgspec

    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ""
    return str(answer.get("message", "")) if isinstance(answer, dict) else ""


def _scheduler_of(data: "Path | None") -> str:
    """The debug address of the embedded cluster's scheduler. Raises Unavailable."""
    from koordinator.cluster.state import DataDir
    from koordinator.errors import Unavailable

    state = DataDir(data_root(data)).must_run()
    if not state.scheduler:
        raise Unavailable("scheduler", "this cluster was started by a version without debug endpoints", "start it again")
    return state.scheduler
