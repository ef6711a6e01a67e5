"""`koord up`, `koord down`, `koord status`: the embedded cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from koordinator.cli.options import Data, data_root

if TYPE_CHECKING:
    from koordinator.cluster.state import RunState


def add_to(app: typer.Typer) -> None:
    app.command("up")(up)
    app.command("down")(down)
    app.command("status")(status)


def up(
    data: Data = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the API server on 127.0.0.1; 0 takes a free one.")
    ] = 7443,
    nodes: Annotated[int, typer.Option(min=0, help="Hollow nodes to add: no processes, modelled usage.")] = 0,
    node_shape: Annotated[str, typer.Option(help="Their shape, e.g. 'cpu=64,memory=256Gi,gpu=8:A100,numa=2,zone=a|b'.")] = "",
    this_machine: Annotated[
        bool | None,
        typer.Option(
            help="Make this machine a node that runs pods as processes. Default: when possible and no --nodes.",
            show_default=False,
        ),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Deploy the demo's service, load and batch jobs once the cluster is ready.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Return when the cluster is ready; `koord down` stops it.")] = False,
) -> None:
    """Start a cluster on this machine and stay; Ctrl-C stops it."""
    from koordinator.cluster import up as cluster_up

    options = cluster_up.UpOptions(
        data=data_root(data), port=port, nodes=nodes, node_shape=node_shape, this_machine=this_machine
    )

    def ready(state: "RunState") -> None:
        typer.echo(_where(options.data, state))
        if demo:
            _deploy_demo(options.data)

    if detach:
        ready(cluster_up.detach(options))
        return
    cluster_up.run(options, typer.echo, ready)


def down(data: Data = None) -> None:
    """Stop the cluster: its pods' processes, its components, its cgroups. What it stored stays."""
    from koordinator.cluster.down import clear, stop
    from koordinator.cluster.state import DataDir

    root = data_root(data)
    directory = DataDir(root)
    if directory.running() is None and (left := clear(directory)) is not None:
        typer.echo(f"the cluster on {root} had been killed; ended its pods' processes ({left}), removed its cgroups")
        return
    state = stop(directory)
    typer.echo(f"stopped the cluster on {root} (pid {state.pid})")


def status(data: Data = None) -> None:
    """Say what runs, and what the nodes have and sell. Exit code 1 when no cluster runs or a part of it is down."""
    import asyncio

    from koordinator.cluster.state import DataDir
    from koordinator.cluster.status import look

    found = asyncio.run(look(DataDir(data_root(data))))
    typer.echo(found.text())
    if not found.healthy:
        raise typer.Exit(1)


def _where(data: Path, state: "RunState") -> str:
    lines = [
        f"cluster ready: {state.server}",
        f"  kubeconfig  {data / 'kubeconfig'}",
        f"  logs        {data / 'logs'}",
        f"  components  {', '.join(f'{name} ({pid})' for name, pid in state.components.items())}",
    ]
    if state.node == "process":
        lines.append(f"  node        {state.node_name}: this machine; its pods are real processes")
    if state.hollow_nodes:
        lines.append(f"  nodes       {state.hollow_nodes} hollow (no processes, modelled usage)")
    if state.why_hollow:
        lines.append(f"  this machine is not a node: {state.why_hollow}")
    return "\n".join(lines)


def _deploy_demo(data: Path) -> None:
    """In a process of its own: the supervisor that calls this must stay without an event loop."""
    import subprocess
    import sys

    from koordinator.cluster.demo.manifests import folder

    command = [sys.executable, "-m", "koordinator", "apply", "--data", str(data), "-f", str(folder())]
    subprocess.run(command, check=False)
