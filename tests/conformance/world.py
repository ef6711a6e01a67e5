"""The worlds that the suite runs in: a store, and what a test must know of whoever is behind it."""

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from koordinator.api.meta import Object
from koordinator.api.registry import CONFIG_MAPS, LEASES, NAMESPACES, POD_DISRUPTION_BUDGETS, PODS, Resource
from koordinator.clock import SystemClock
from koordinator.kube.errors import Forbidden, NotFound
from koordinator.kube.store import Store
from waiting import until

SERVER = """
import asyncio, sys, uvloop
from pathlib import Path
from koordinator.clock import SystemClock
from koordinator.cluster.apiserver.app import ApiServerOptions, run

class Hasty(SystemClock):
    async def sleep(self, seconds):  # bookmarks every 2 seconds instead of every minute
        await super().sleep(seconds / 30)

uvloop.run(run(ApiServerOptions(data=Path(sys.argv[1])), Hasty(), lambda: print("ready", flush=True)))
"""


class ServerProcess:
    """The embedded server as a process. It has been restarted once, so versions from before are forgotten."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.process = self._start()
        self.stop()
        self.process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", SERVER, str(self.data)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline().strip() == "ready"
        return process

    def stop(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


class World:
    """One test's view: a namespace of its own, and names that nobody else uses."""

    def __init__(self, name: str, store: Store, namespace: str, remind: Callable[[], Awaitable[None]] | None = None) -> None:
        self.name, self.store, self.namespace = name, store, namespace
        self.clock = SystemClock()
        self._remind = remind
        self._numbers = itertools.count()
        self._cluster_scoped: list[tuple[Resource[Object], str]] = []

    def unique(self, base: str) -> str:
        return f"{base}-{self.namespace.rpartition('-')[2]}-{next(self._numbers)}"

    def created(self, resource: Resource[Object], name: str) -> None:
        """A cluster-scoped object that must not outlive the test."""
        self._cluster_scoped.append((resource, name))

    async def remind(self) -> None:
        """Hurry bookmarks, where that can be done."""
        if self._remind:
            await self._remind()

    async def clean_up(self) -> None:
        for resource in (CONFIG_MAPS, PODS, POD_DISRUPTION_BUDGETS, LEASES):
            for obj in (await self.store.list(resource, self.namespace)).items:
                await self._delete(resource, obj)
        for resource, name in [*self._cluster_scoped, (NAMESPACES, self.namespace)]:
            with contextlib.suppress(NotFound):
                await self.store.delete(resource, name)

    async def _delete(self, resource: Resource[Object], obj: Object) -> None:
        with contextlib.suppress(NotFound):
            if obj.metadata.finalizers:
                await self.store.patch(resource, obj.name, {"metadata": {"finalizers": None}}, self.namespace)
            await self.store.delete(resource, obj.name, self.namespace, grace_seconds=0)


@contextlib.asynccontextmanager
async def world_of(name: str, store: Store, remind: Callable[[], Awaitable[None]] | None = None) -> AsyncIterator[World]:
    """A world with a fresh namespace, emptied and deleted at the end."""
    namespace = f"koord-conformance-{uuid.uuid4().hex[:8]}"
    await store.create(NAMESPACES, {"metadata": {"name": namespace}})
    world = World(name, store, namespace, remind)
    try:
        if name == "kubeconfig":
            await until(lambda: _takes_pods(store, namespace), what="a new namespace takes pods")
        yield world
    finally:
        await world.clean_up()


async def _takes_pods(store: Store, namespace: str) -> bool:
    """Whether pods can be made there yet: some clusters want a service account first, which a controller makes."""
    try:
        await store.create(PODS, pod("first"), namespace)
    except Forbidden:
        return False
    await store.delete(PODS, "first", namespace, grace_seconds=0)
    return True


def kubeconfig() -> str:
    """The cluster that the caller wants tested too."""
    return os.environ.get("KOORD_CONFORMANCE_KUBECONFIG", "")


async def take(events, count: int, seconds: float = 10) -> list:
    """The next events of a watch, bookmarks aside."""
    taken = []
    async with asyncio.timeout(seconds):
        async for event in events:
            if event.type != "BOOKMARK":
                taken.append(event)
            if len(taken) == count:
                break
    return taken


def config_map(name: str, labels: dict | None = None, **data: str) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels or {}}, "data": data}


def pod(name: str, labels: dict | None = None, **spec: object) -> dict:
    """A pod that no scheduler looks at."""
    container = {
        "name": "main",
        "image": "registry.invalid/none:1",
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }
    body = {"containers": [container], "schedulerName": "nobody"} | spec
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}}, "spec": body}


async def running_pod(world: World, name: str, labels: dict | None = None, node: str = "nowhere") -> Object:
    """A pod that is bound and says that it runs and is ready."""
    await world.store.create(PODS, pod(name, labels), world.namespace)
    await world.store.bind(world.namespace, name, node)
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    return await world.store.patch(PODS, name, {"status": status}, world.namespace, subresource="status")
