"""A component as a verb of `koord` and as a console script of its own: Go flags passed through, help, exit codes."""

import sys
from collections.abc import Callable, Sequence

import msgspec
import typer

from koordinator.cli import goflags
from koordinator.cli.goflags import Flag, Misuse
from koordinator.errors import KoordError


class Component(msgspec.Struct, frozen=True):
    """``serve`` gets all arguments that do not ask for help and raises KoordError.

    ``script_misuse`` is the exit code of the script ``koord-<name>`` for a wrong flag: the Go components disagree about it.
    The verb ends like every other verb of `koord`: 2 when called wrongly, else 1.
    """

    name: str
    about: str
    flags: Sequence[Flag]
    serve: Callable[[Sequence[str]], None]
    script_misuse: int

    def add_to(self, app: typer.Typer) -> None:
        def verb(ctx: typer.Context) -> None:
            try:
                self._answer(ctx.args)
            except Misuse as err:
                sys.stderr.write(f"koord {self.name}: {err}\n")
                raise typer.Exit(2) from err

        passes_through = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
        app.command(self.name, context_settings=passes_through, help=self.about)(verb)

    def script(self) -> None:
        """The console script."""
        try:
            self._answer(sys.argv[1:])
        except KoordError as err:
            sys.stderr.write(f"koord-{self.name}: {err}\n")
            sys.exit(self.script_misuse if isinstance(err, Misuse) else 1)

    def _answer(self, arguments: Sequence[str]) -> None:
        if {"-h", "--help", "-help"} & set(arguments):
            typer.echo(f"{self.about}\n{goflags.usage(self.flags)}")
        else:
            self.serve(arguments)
