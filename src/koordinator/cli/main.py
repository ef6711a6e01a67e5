"""The `koord` command. Heavy parts are imported by the verb that needs them, so that help is instant."""

import sys

import typer

from koordinator import __version__
from koordinator.cli import cluster, demo, explain, kubectl, manager, plan, scheduler
from koordinator.errors import KoordError

app = typer.Typer(
    name="koord",
    help="Koordinator: run services and batch work on the same nodes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cluster.add_to(app)
kubectl.add_to(app)
demo.add_to(app)
explain.add_to(app)
manager.COMPONENT.add_to(app)
plan.add_to(app)
scheduler.COMPONENT.add_to(app)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run the command; an error that a person is meant to read is one sentence on stderr, exit code 1."""
    try:
        app()
    except KoordError as err:
        sys.stderr.write(f"koord: {err}\n")
        sys.exit(1)
