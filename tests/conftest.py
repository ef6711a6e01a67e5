"""Fixtures for all tests: a real API server on the loopback interface."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings

from koordinator.clock import SystemClock
from koordinator.kube.client import Client
from koordinator.kube.config import ClientConfig

# Tests do not time: a busy machine must not fail a property.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")


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
