"""Fixtures for all tests: a real API server on the loopback interface."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings

from koordinator.clock import SystemClock
from koordinator.kube.client import Client
from koordinator.kube.config import ClientConfig
from kubectls import BINARIES, Kubectl

# Tests do not time: a busy machine must not fail a property. `make test` draws the same examples each time, so that a change
# is judged by what it changed; `make fuzz` draws new ones.
settings.register_profile("ours", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("KOORD_HYPOTHESIS_PROFILE", "ours"))


class ApiServer(msgspec.Struct, frozen=True):
    """A running API server. ``kubeconfig`` is for kubectl (https), ``client`` speaks http."""

    url: str
    https_url: str
    token: str
    data: Path
    client_config: ClientConfig
    client: Client

    @property
    def kubeconfig(self) -> Path:
        return self.data / "kubeconfig"


@pytest.fixture
async def apiserver(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """An embedded API server with its own data directory and free ports, stopped at the end of the test."""
    from koordinator.cluster.apiserver.app import ApiServerOptions, serve

    async with serve(ApiServerOptions(data=tmp_path / "cluster"), SystemClock()) as server:
        config = ClientConfig(server=server.url, token=server.token)
        async with Client(config) as client:
            yield ApiServer(server.url, server.https_url, server.token, server.data, config, client)


@pytest.fixture(params=list(BINARIES))
def kubectl(request: pytest.FixtureRequest, apiserver: ApiServer, tmp_path: Path) -> Kubectl:
    """Debian's and a current kubectl on the test's API server."""
    binary = BINARIES[request.param]
    if not binary.exists():
        pytest.skip(f"{binary} is not there; scripts/install-test-deps fetches it")
    home = tmp_path / "home"
    home.mkdir()
    return Kubectl(binary, apiserver.kubeconfig, home)
