"""Where the demo's manifests are: beside the sources in a checkout, inside the package in an installation."""

from pathlib import Path

from koordinator.errors import Unavailable


def folder() -> Path:
    here = Path(__file__).resolve()
    for candidate in (here.parents[4] / "examples" / "demo", here.parent / "files"):
        if (candidate / "30-service.yaml").exists():
            return candidate
    raise Unavailable("demo", "its manifests are not installed", "install the package again")
