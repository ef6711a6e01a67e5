"""The suite's fixture: every test runs once in every world."""

import contextlib
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest

from conformance.world import ServerProcess, World, kubeconfig, world_of
from koordinator.clock import SystemClock
from koordinator.kube.client import Client
from koordinator.kube.config import load
from koordinator.kube.memory import MemoryStore

WORLDS = ["memory", "embedded-http", "embedded-https", *(["kubeconfig"] if kubeconfig() else [])]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path_factory.mktemp("conformance") / "data")
    yield process
    process.stop()


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        store = MemoryStore(SystemClock())
        store.compact()
        async with world_of("memory", store, _reminding(store)) as world:
            yield world
        return
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(_config(request)))
        yield await stack.enter_async_context(world_of(request.param, client))


def _reminding(store: MemoryStore):
    async def remind() -> None:
        store.remind()

    return remind


def _config(request: pytest.FixtureRequest):
    if request.param == "kubeconfig":
        config = load(kubeconfig())
    else:
        data = request.getfixturevalue("server").data
        config = load(str(data / ("kubeconfig" if request.param == "embedded-https" else "component.kubeconfig")))
    return msgspec.structs.replace(config, user_agent="koord-conformance")
