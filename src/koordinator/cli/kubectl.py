"""`koord apply` and `koord kubectl`: speak to the cluster without typing its address."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from koordinator.cli.options import Data, data_root
from koordinator.errors import KoordError, Unavailable

if TYPE_CHECKING:
    from koordinator.kube.apply import Manifest


def add_to(app: typer.Typer) -> None:
    app.command("apply")(apply)
    passes_through = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command("kubectl", context_settings=passes_through)(kubectl)


def apply(
    filename: Annotated[
        list[Path], typer.Option("--filename", "-f", help="A file, a folder of YAML and JSON files, or - for standard input.")
    ],
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="For objects that name none.")] = "default",
    data: Data = None,
) -> None:
    """Create or update the objects of manifests. Objects that are refused are named on stderr; the others are applied."""
    import asyncio

    from koordinator.cluster.state import DataDir

    directory = DataDir(data_root(data))
    directory.must_run()
    manifests = [manifest for path in filename for manifest in _manifests(path)]
    if not manifests:
        raise KoordError(f"no objects in {', '.join(map(str, filename))}: nothing was applied")
    if not asyncio.run(_apply_all(directory.component_kubeconfig, manifests, namespace)):
        raise typer.Exit(1)


def _manifests(path: Path) -> list["Manifest"]:
    from koordinator.kube.apply import manifests_at, read_manifests

    if path == Path("-"):
        return list(read_manifests(typer.get_text_stream("stdin").read(), "standard input"))
    return manifests_at(path)


async def _apply_all(kubeconfig: Path, manifests: list["Manifest"], namespace: str) -> bool:
    from koordinator.kube import config
    from koordinator.kube.apply import apply as apply_one
    from koordinator.kube.client import Client

    fine = True
    async with Client(config.load(str(kubeconfig))) as client:
        for manifest in manifests:
            try:
                done = await apply_one(client, manifest, namespace)
                typer.echo(f"{done.title} {done.outcome}")
            except KoordError as err:
                fine = False
                typer.echo(f"koord: {manifest.where}: {manifest.title}: {err}", err=True)
    return fine


def kubectl(ctx: typer.Context, data: Data = None) -> None:
    """Run kubectl against the cluster; everything after `kubectl` is passed on."""
    import os
    import shutil
    import sys

    from koordinator.cluster.state import DataDir

    directory = DataDir(data_root(data))
    directory.must_run()
    beside_us = str(Path(sys.executable).parent)
    program = shutil.which("kubectl") or shutil.which("kubectl", path=beside_us)
    if program is None:
        raise Unavailable("kubectl", "it is not on PATH", "install it, or use `koord apply -f FILE` and `koord status`")
    os.execve(program, ["kubectl", *ctx.args], {**os.environ, "KUBECONFIG": str(directory.kubeconfig)})  # noqa: S606 — no shell
