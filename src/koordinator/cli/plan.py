"""`koord plan`: what would happen if, without doing it."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from koordinator.cli.options import Data, data_root

if TYPE_CHECKING:
    from koordinator.manager import planning


class Output(StrEnum):
    """How a plan is printed."""

    TABLE = "table"
    JSON = "json"


def add_to(app: typer.Typer) -> None:
    plans = typer.Typer(help="Show what a change would do, before it is made.", no_args_is_help=True, rich_markup_mode=None)
    plans.command("overcommit")(overcommit)
    app.add_typer(plans, name="plan")


def overcommit(
    filename: Annotated[
        str,
        typer.Option(
            "--filename", "-f", help="Proposed slo-controller-config: a ConfigMap, or its keys alone; - reads standard input."
        ),
    ] = "",
    node: Annotated[str, typer.Option(help="Only this node.")] = "",
    explain: Annotated[bool, typer.Option("--explain", help="How each number comes about, for all nodes shown.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="table or json.")] = Output.TABLE,
    config: Annotated[
        str, typer.Option(help="The ConfigMap in force, as namespace/name.")
    ] = "koordinator-system/slo-controller-config",
    kubeconfig: Annotated[str, typer.Option(help="A cluster's kubeconfig, instead of the local cluster.")] = "",
    data: Data = None,
) -> None:
    """Show per node what would be sold under a proposed configuration, against the current one, from live NodeMetrics."""
    import asyncio

    from koordinator.clock import SystemClock
    from koordinator.kube.client import Client
    from koordinator.kube.config import load
    from koordinator.manager import planning

    async def look() -> planning.Snapshot:
        async with Client(load(kubeconfig or _local(data))) as client:
            return await planning.look(client, config, node)

    text, where = _read(filename)
    snapshot = asyncio.run(look())
    current = planning.usable_config(snapshot.data)
    proposed = current
    if text is not None:
        wanted = planning.proposed_data(text, where, snapshot.data)
        proposed = planning.read_config(wanted, where)
        if refused := planning.warning(snapshot, wanted):
            typer.echo(f"koord: the validating webhook would refuse it: {refused}", err=True)
    plans = planning.plan(snapshot, current, proposed, SystemClock().now())
    typer.echo(_shown(plans, output, explain=explain or bool(node)))


def _shown(plans: "list[planning.NodePlan]", output: Output, *, explain: bool) -> str:
    import msgspec

    from koordinator.manager import plantext

    if output is Output.JSON:
        return msgspec.json.format(msgspec.json.encode(plantext.as_json(plans))).decode()
    return plantext.whole(plans, plans if explain else ())


def _read(filename: str) -> tuple[str | None, str]:
    """The text, and what to call it."""
    import sys

    from koordinator.errors import Unavailable

    if not filename:
        return None, ""
    if filename == "-":
        return sys.stdin.read(), "standard input"
    try:
        return Path(filename).read_text(), filename
    except (OSError, UnicodeDecodeError) as err:
        raise Unavailable(filename, getattr(err, "strerror", None) or str(err)) from err


def _local(data: Path | None) -> str | None:
    """The local cluster's kubeconfig where one runs; else what kubectl would take."""
    from koordinator.cluster.state import DataDir

    directory = DataDir(data_root(data))
    if data is not None:
        directory.must_run()
    return str(directory.component_kubeconfig) if directory.running() else None
