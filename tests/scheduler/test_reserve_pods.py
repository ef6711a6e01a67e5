"""A small Reservation plugin with the hooks of a big one: reserve pods through queue and binder, their object written."""

import copy

import pytest

from koordinator.api.core import Container, Pod, PodSpec, ResourceRequirements
from koordinator.api.meta import ObjectMeta
from koordinator.api.registry import EVENTS, PODS, RESERVATIONS
from koordinator.scheduler.catalogue import built_in, foreign
from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.framework import (
    SKIP,
    BindPlugin,
    PreBindPlugin,
    WatchPlugin,
)
from koordinator.scheduler.engine.hooks import ErrorHandler, NominatePlugin, PodPlugin, View, ViewPlugin, changes_of
from koordinator.scheduler.engine.pod import PodReader, is_reserve_pod
from koordinator.scheduler.engine.reservations import ReservationPreBindPlugin, ReservationScorePlugin
from scheduler.processes import add_node, add_pod, bound, running
from waiting import until

CONFIG = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: koord-scheduler
  plugins:
    preBind: {enabled: [{name: Small}]}
    bind: {disabled: [{name: "*"}], enabled: [{name: Small}, {name: DefaultBinder}]}
"""
RESERVE, NAME = "scheduling.koordinator.sh/reserve-pod", "scheduling.koordinator.sh/reservation-name"


class Small(
    WatchPlugin,
    PodPlugin,
    ErrorHandler,
    ReservationPreBindPlugin,
    PreBindPlugin,
    BindPlugin,
    ViewPlugin,
    NominatePlugin,
    ReservationScorePlugin,
):
    """Reserves what a Reservation asks for; pods whose name starts with its name own it."""

    name = "Small"
    resource = RESERVATIONS
    happening = Happening.ANYTHING

    def __init__(self, handle):
        self.handle, self.reader = handle, PodReader()
        self.there, self.failures, self.pods, self.chosen = {}, {}, {}, []
        Small.last = self

    # what is there
    def object_set(self, one):
        info = self.reader.read(reserve_pod(one))
        if one.status.node_name:
            self.there[one.name] = info
            self.handle.cluster.place(info, one.status.node_name)
        else:
            self.handle.scheduler.add_pending(info, "koord-scheduler")

    def object_deleted(self, one):
        self.there.pop(one.name, None)
        self.handle.scheduler.gone(one.metadata.uid)
        left = self.handle.cluster.remove(one.metadata.uid)
        if left is not None:
            self.handle.scheduler.tell(ClusterEvent(Happening.POD_DELETE, left.node, old=left.info.pod))

    def pod_known(self, pod):
        self.pods[pod.name] = pod

    def pod_gone(self, pod):
        self.pods.pop(pod.name, None)

    # what becomes of a reserve pod
    def before_error(self, pod, failure):
        if is_reserve_pod(pod.pod):
            self.failures[pod.pod.metadata.annotations[NAME]] = failure.message
        return is_reserve_pod(pod.pod)

    async def pre_bind_reservation(self, state, pod, node):
        changes_of(state).annotations["reserved-by"] = "Small"

    async def pre_bind(self, state, pod, node):
        assert not is_reserve_pod(pod.pod)
        if state.get(self.name):
            changes_of(state).annotations["reservation"] = state[self.name]

    async def bind(self, state, pod, node):
        if not is_reserve_pod(pod.pod):
            return SKIP
        name = pod.pod.metadata.annotations[NAME]
        status = {"phase": "Available", "nodeName": node}
        await self.handle.store.patch(RESERVATIONS, name, {"status": status}, subresource="status")
        return None

    # what owners see
    def owned(self, pod, node):
        return [
            (name, info)
            for name, info in self.there.items()
            if pod.name.startswith(name) and not is_reserve_pod(pod.pod) and self.handle.cluster.pods[info.uid].node == node
        ]

    def views(self, state, pod):
        nodes = self.handle.cluster.nodes
        return {
            node: View(without=tuple(info.uid for _, info in self.owned(pod, node))) for node in nodes if self.owned(pod, node)
        }

    def nominate(self, state, pod, node):
        owned = [info for _, info in self.owned(pod, node)]
        if owned:
            self.chosen.append(self.handle.reservations.scores(state, pod, owned, node))
            state[self.name] = owned[0].pod.metadata.annotations[NAME]

    def score_reservation(self, state, pod, reservation, node):
        return 7


def reserve_pod(one):
    """The pod that a Reservation is to the engine."""
    pod = copy.deepcopy(one.spec.template)
    meta = ObjectMeta(
        name=one.metadata.uid, uid=one.metadata.uid, namespace="default", annotations={RESERVE: "true", NAME: one.name}
    )
    cpu = pod["spec"]["containers"][0]["resources"]["requests"]["cpu"]
    container = Container(name="main", resources=ResourceRequirements(requests={"cpu": cpu}))
    return Pod(metadata=meta, spec=PodSpec(containers=[container], scheduler_name="koord-scheduler"))


@pytest.fixture
async def app(apiserver, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    catalogue = {**built_in(), "Small": foreign("Small", Small)}
    await add_node(apiserver.client, "a", cpu="4")
    async with running(apiserver.client, None, catalogue, config=str(file)) as app:
        yield app


async def reserve(client, name, cpu):
    containers = [{"name": "main", "image": "pause", "resources": {"requests": {"cpu": cpu}}}]
    spec = {
        "template": {"spec": {"containers": containers}},
        "owners": [{"labelSelector": {"matchLabels": {"app": name}}}],
        "ttl": "1h",
    }
    await client.create(RESERVATIONS, {"metadata": {"name": name}, "spec": spec})


async def test_a_reservation_is_scheduled_like_a_pod_kept_from_others_and_given_to_its_owner(apiserver, app):
    client, plugin = apiserver.client, Small.last
    await reserve(client, "web", "3")

    async def available():
        return (await client.get(RESERVATIONS, "web")).status.phase == "Available"

    await until(available)
    found = await client.get(RESERVATIONS, "web")
    assert (found.status.node_name, found.metadata.annotations) == ("a", {"reserved-by": "Small"})
    await until(lambda: "web" in plugin.there)

    await add_pod(client, "stranger", cpu="2")
    await until(lambda: app.reporter.metrics.attempts.get(("koord-scheduler", "unschedulable")))
    assert not await bound(client, "stranger")
    await add_pod(client, "web-0", cpu="2")
    await until(lambda: bound(client, "web-0"))
    assert (await client.get(PODS, "web-0", "default")).metadata.annotations["reservation"] == "web"
    assert plugin.chosen == [{plugin.there["web"].name: 100}]
    assert plugin.pods.keys() == {"stranger", "web-0"}

    await client.delete(RESERVATIONS, "web")
    await until(lambda: bound(client, "stranger"))
    kinds = {one.involved_object.name for one in (await client.list(EVENTS, "default")).items}
    assert kinds <= {"stranger", "web-0"}, "nobody hears of a pod that does not exist"


async def test_a_reservation_that_fits_nowhere_is_its_plugins_to_tell(apiserver, app):
    await reserve(apiserver.client, "huge", "64")
    await until(lambda: Small.last.failures)
    assert Small.last.failures == {
        "huge": "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 "
        "Preemption is not helpful for scheduling."
    }
    assert len(app.queue) == 1
