"""docs/reference/cli.md, written from the commands themselves: `python -m koordinator.cli.reference FILE [--check]`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from koordinator.cli.main import app

_HEAD = """# Command line

`koord VERB [OPTIONS]`. Errors are one sentence on stderr; exit code 1 says that the verb failed, 2 that it was called wrongly.
This page is generated from the commands; `make docs` writes it afresh.
"""


def reference() -> str:
    """The whole page."""
    root: Any = typer.main.get_command(app)
    return "\n".join([_HEAD, *(section(name, command) for name, command in verbs(root.commands))])


def verbs(commands: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Every verb with the words that it is called by, groups opened."""
    for name, command in commands.items():
        if hasattr(command, "commands"):
            yield from verbs(command.commands, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def section(name: str, command: Any) -> str:
    """One verb: what it does and its options."""
    lines = [f"## koord {name}", "", (command.help or "").strip(), ""]
    rows = list(_options(command))
    if rows:
        lines += ["| option | default | meaning |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _options(command: Any) -> Iterator[str]:
    for option in command.params:
        if option.name == "help":
            continue
        names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
        default = "" if option.default in (None, "", [], ()) or callable(option.default) else f"`{option.default}`"
        yield f"| {names} | {'required' if option.required else default} | {(option.help or '').replace('|', chr(92) + '|')} |"


if __name__ == "__main__":
    path, check = Path(sys.argv[1]), "--check" in sys.argv
    if not check:
        path.write_text(reference())
    elif not path.exists() or path.read_text() != reference():
        sys.exit(f"{path} is stale: run `make docs`")
