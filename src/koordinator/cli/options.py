"""Options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option(
        help="The cluster's data directory. Default: $XDG_DATA_HOME/koord or ~/.local/share/koord.", show_default=False
    ),
]


def data_root(data: Path | None) -> Path:
    """The directory meant by ``--data``."""
    from koordinator.cluster.state import default_root

    return (data or default_root()).expanduser().absolute()
