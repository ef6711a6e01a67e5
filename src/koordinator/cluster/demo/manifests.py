"""The demo's manifests: plain files, beside the sources in a checkout, inside the package in an installation."""

import socket
from pathlib import Path

import msgspec

from koordinator.errors import Unavailable
from koordinator.kube.apply import Manifest

PORT = 18080
"""Where the service of the manifests listens, on 127.0.0.1."""


def folder() -> Path:
    here = Path(__file__).resolve()
    for candidate in (here.parents[4] / "examples" / "demo", here.parent / "files"):
        if (candidate / "30-service.yaml").exists():
            return candidate
    raise Unavailable("demo", "its manifests are not installed", "install the package again")


def free_port(wanted: int = PORT) -> int:
    """The wanted port, or another one when a program listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def at_port(manifest: Manifest, port: int) -> Manifest:
    """The manifest with the service's port replaced wherever it stands."""
    text = msgspec.json.encode(manifest.body).replace(str(PORT).encode(), str(port).encode())
    return msgspec.structs.replace(manifest, body=msgspec.json.decode(text))
