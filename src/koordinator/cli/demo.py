"""`koord demo`: the main story, measured on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from koordinator.cluster.demo.runner import Result
    from koordinator.cluster.state import DataDir, RunState


def add_to(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Where the report, the picture and the cluster's data go.")] = Path("out/demo"),
    seconds: Annotated[float, typer.Option(min=5, help="Length of each of the three phases.")] = 20.0,
) -> None:
    """Co-locate a service and batch jobs on this machine: alone, unprotected, under Koordinator; print what happened."""
    import signal

    from koordinator.cluster.down import stop
    from koordinator.cluster.state import DataDir
    from koordinator.cluster.up import UpOptions, detach

    data = DataDir(out.absolute() / "cluster")
    _make_room(data)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # clean up as on Ctrl-C
    state = detach(UpOptions(data=data.root, port=0))
    try:
        typer.echo(f"started a cluster at {state.server}, logs in {data.logs}")
        if state.node == "process":
            _measure(out, seconds, data, state)
        else:
            _only_place(data, state)
    finally:
        if data.running():
            stop(data)


def _make_room(data: "DataDir") -> None:
    """Stop and remove what the last demo left; nothing else. Raises Unavailable when something else is in the way."""
    import shutil

    from koordinator.cluster.down import clear, stop
    from koordinator.errors import Unavailable

    if data.running():
        stop(data)
    clear(data)
    if data.root.exists() and not data.lock_file.exists():
        raise Unavailable(f"folder {data.root}", "it is not a demo's cluster", "choose another folder with --out")
    shutil.rmtree(data.root, ignore_errors=True)


def _measure(out: Path, seconds: float, data: "DataDir", state: "RunState") -> None:
    import asyncio

    result = asyncio.run(_run(out, seconds, data, state))
    from koordinator.cluster.demo import report

    report.write_json(out / "report.json", result.node, result.phases)
    typer.echo(f"\n{report.table(result.phases)}\n\n{report.verdict(result.phases)}\n\nreport: {out / 'report.json'}")
    try:
        report.draw_timeline(out / "timeline.png", result.windows, result.records)
        typer.echo(f"picture: {out / 'timeline.png'}")
    except ImportError:
        typer.echo("no picture: matplotlib is not installed (pip install 'koordinator[plot]')")


async def _run(out: Path, seconds: float, data: "DataDir", state: "RunState") -> "Result":
    from koordinator.clock import SystemClock
    from koordinator.cluster.demo.manifests import folder
    from koordinator.cluster.demo.runner import Demo, DemoOptions
    from koordinator.kube import config
    from koordinator.kube.client import Client

    options = DemoOptions(manifests=folder(), scratch=out, node=state.node_name, seconds=seconds)
    async with Client(config.load(str(data.component_kubeconfig))) as client:
        return await Demo(options, client, SystemClock(), typer.echo).run()


def _only_place(data: "DataDir", state: "RunState") -> None:
    """Without root there are no processes to measure: show that batch resources are sold and the pods placed."""
    import asyncio

    from koordinator.cluster.demo.placement import show

    typer.echo(f"this machine cannot be a node: {state.why_hollow}; hollow nodes show the placement, nothing is measured")
    typer.echo(asyncio.run(show(data)))
