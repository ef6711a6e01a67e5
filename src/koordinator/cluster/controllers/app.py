"""Starts the controllers that the options name, on one set of shared watches."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from koordinator.clock import Clock
from koordinator.cluster.controllers.driver import CONCURRENCY, Applier, Controller, Loop, Teller
from koordinator.cluster.controllers.hub import Hub
from koordinator.cluster.controllers.zones import Pace
from koordinator.errors import ConfigInvalid, readable
from koordinator.kube.store import Store

ALL = (
    "deployment",
    "replicaset",
    "daemonset",
    "statefulset",
    "job",
    "disruption",
    "resourceclaim",
    "garbage",
    "namespace",
    "node-lifecycle",
    "pod-garbage",
)
COMPONENT = "koord-controllers"


class ControllersOptions(msgspec.Struct, kw_only=True):
    """Which controllers to run, and against which API server (kubeconfig and master as everywhere)."""

    kubeconfig: str | None = None
    master: str | None = None
    controllers: tuple[str, ...] = ALL
    node_monitor_grace_seconds: float = 40.0
    eviction_pace: Pace = Pace()
    terminated_pod_limit: int = 12_500
    workers: int = 4


async def run(options: ControllersOptions, clock: Clock, on_ready: Callable[[], None] = lambda: None) -> None:
    """Until cancelled. Raises: ConfigInvalid for an unknown controller or an unreadable kubeconfig."""
    check(options)
    from koordinator.kube.client import Client
    from koordinator.kube.config import load
    from koordinator.kube.events import Recorder

    async with Client(load(options.kubeconfig, options.master)) as client:
        recorder = Recorder(client, COMPONENT, clock)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(recorder.run())
                tasks.create_task(serve(client, recorder, options, clock, on_ready))
        except BaseExceptionGroup as group:
            raise readable(group) or group from None


async def serve(
    store: Store, teller: Teller, options: ControllersOptions, clock: Clock, on_ready: Callable[[], None] = lambda: None
) -> None:
    """Run the controllers against any store, until cancelled. No decision is made before every watch has its first list."""
    hub = Hub(store, clock)
    applier = Applier(store, hub, teller, clock)
    loops = [Loop(controller, applier, clock, _workers(controller, options)) for controller in build(hub, options, clock)]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hub.run())
        await hub.synced()
        for loop in loops:
            tasks.create_task(loop.run())
        on_ready()


def _workers(controller: Controller, options: ControllersOptions) -> int:
    """Every key of the garbage collector is one object and one request: many go at a time."""
    return max(options.workers, CONCURRENCY) if controller.name == "garbage" else options.workers


def check(options: ControllersOptions) -> None:
    for name in options.controllers:
        if name not in ALL:
            raise ConfigInvalid("controllers", name, f"must be one of {', '.join(ALL)}", "nothing was started")


def build(hub: Hub, options: ControllersOptions, clock: Clock) -> list[Controller]:
    """The controllers that were asked for. The garbage collector comes last: it takes the views as the others typed them."""
    from koordinator.cluster.controllers import collector, namespaces, nodewatch, resourceclaim, workloads

    makers: dict[str, Callable[[], Any]] = {
        "deployment": lambda: workloads.DeploymentController(hub, clock),
        "replicaset": lambda: workloads.ReplicaSetController(hub, clock),
        "daemonset": lambda: workloads.DaemonSetController(hub, clock),
        "statefulset": lambda: workloads.StatefulSetController(hub, clock),
        "job": lambda: workloads.JobController(hub, clock),
        "disruption": lambda: workloads.DisruptionController(hub, clock),
        "resourceclaim": lambda: resourceclaim.ResourceClaimController(hub, clock),
        "namespace": lambda: namespaces.NamespaceController(hub, clock),
        "node-lifecycle": lambda: nodewatch.NodeLifecycleController(
            hub, clock, options.node_monitor_grace_seconds, options.eviction_pace
        ),
        "pod-garbage": lambda: nodewatch.PodGarbageController(hub, clock, options.terminated_pod_limit),
        "garbage": lambda: collector.GarbageCollector(hub, clock),
    }
    return [make() for name, make in makers.items() if name in options.controllers]
