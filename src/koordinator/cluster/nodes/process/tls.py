"""The endpoint's certificate and token: signed by the cluster's authority, known to the API server and koordlet alone."""

import os
import secrets
import ssl
from pathlib import Path

from koordinator.clock import Clock
from koordinator.cluster.apiserver import pki
from koordinator.errors import Unavailable


def server_context(directory: Path, name: str, address: str, clock: Clock) -> ssl.SSLContext:
    """TLS for the endpoint, with a certificate made for this start: the authority may have changed. Raises Unavailable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        authority = pki.ensure(directory, clock.now())
        context.load_cert_chain(*pki.issue(authority, "kubelet", (name, "localhost", address), clock.now()))
    except (OSError, ValueError) as err:
        raise Unavailable(f"kubelet certificate in {directory}", str(err), "remove the directory; it is made again") from err
    return context


def ensure_token(path: Path) -> None:
    """The secret that readers of the endpoint must show; made once."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(fd, "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
