"""Any story told to the memory store and to the embedded server has the same answers, line by line."""

import random
import re

import pytest

from conformance.world import pod
from koordinator.api.registry import CONFIG_MAPS, NODE_METRICS, NODES, POD_DISRUPTION_BUDGETS, PODS, PRIORITY_CLASSES
from koordinator.clock import SystemClock
from koordinator.kube import errors
from koordinator.kube.client import Client
from koordinator.kube.config import load
from koordinator.kube.memory import MemoryStore
from koordinator.kube.store import PatchType

NAMESPACE = "default"
STEPS = 250


class Teller:
    """Tells the next line of a story: a function from a store to an answer."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.app, self.mark = f"s{seed}", f"s{seed}-"

    def name(self):
        return self.mark + self.dice.choice("abc")

    def line(self):
        some = [self.create, self.create, self.label, self.hold, self.delete, self.json_patch, self.get, self.list]
        pods = [self.status, self.spec, self.bind, self.evict, self.budget, self.strategic]
        return self.dice.choice([*some, *pods, self.cluster_scoped])()

    def kind(self):
        return self.dice.choice([CONFIG_MAPS, PODS, PODS])

    def create(self):
        kind, name, finalizers = self.kind(), self.name(), self.dice.choice([[], [], ["example.com/hold"]])
        body = pod(name, {"app": self.app}) if kind is PODS else {"metadata": {"name": name}, "data": {"x": "1"}}
        body["metadata"]["finalizers"] = finalizers
        if kind is PODS and self.dice.random() < 0.3:
            body["spec"]["priorityClassName"] = self.dice.choice(["system-node-critical", "none"])
        if self.dice.random() < 0.1:
            body["status"] = {"phase": "Running"}
        return lambda store: store.create(kind, body, NAMESPACE)

    def patch(self, kind, patch, **options):
        name = self.name()
        return lambda store: store.patch(kind, name, patch, NAMESPACE, **options)

    def label(self):
        return self.patch(self.kind(), {"metadata": {"labels": {"l": self.dice.choice(["1", "2", None])}}})

    def status(self):
        sub = self.dice.choice(["status", "status", ""])
        return self.patch(self.kind(), {"status": {"phase": self.dice.choice(["Running", "Failed"])}}, subresource=sub)

    def spec(self):
        change = [{"activeDeadlineSeconds": 9}, {"activeDeadlineSeconds": 5}, {"nodeName": "n9"}, {"tolerations": []}]
        return self.patch(PODS, {"spec": self.dice.choice(change)})

    def hold(self):
        return self.patch(self.kind(), {"metadata": {"finalizers": self.dice.choice([None, [], ["example.com/hold"]])}})

    def json_patch(self):
        first = {"op": "test", "path": "/data/x", "value": self.dice.choice("12")}
        second = {"op": "replace", "path": "/data/x", "value": self.dice.choice("12")}
        return self.patch(CONFIG_MAPS, [first, second], type=PatchType.JSON)

    def strategic(self):
        containers = [{"name": self.dice.choice(["main", "new"]), "image": self.dice.choice(["x:1", "x:2"])}]
        return self.patch(PODS, {"spec": {"containers": containers}}, type=PatchType.STRATEGIC)

    def bind(self):
        name, node = self.name(), self.dice.choice(["n1", "n2"])
        return lambda store: store.bind(NAMESPACE, name, node)

    def delete(self):
        kind, name, grace = self.kind(), self.name(), self.dice.choice([None, 0, 10])
        return lambda store: store.delete(kind, name, NAMESPACE, grace_seconds=grace)

    def evict(self):
        name = self.name()
        return lambda store: store.evict(NAMESPACE, name)

    def budget(self):
        name = f"{self.mark}budget"
        body = {"metadata": {"name": name}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": self.app}}}}
        status = {"status": {"observedGeneration": 1, "disruptionsAllowed": self.dice.choice([0, 1])}}
        return self.dice.choice(
            [
                lambda store: store.create(POD_DISRUPTION_BUDGETS, body, NAMESPACE),
                lambda store: store.patch(POD_DISRUPTION_BUDGETS, name, status, NAMESPACE, subresource="status"),
                lambda store: store.delete(POD_DISRUPTION_BUDGETS, name, NAMESPACE),
            ]
        )

    def get(self):
        kind, name = self.kind(), self.name()
        return lambda store: store.get(kind, name, NAMESPACE)

    def list(self):
        mark, fields = self.mark, self.dice.choice(["", "status.phase=Running", "spec.nodeName=n1", "spec.nodeName!=n1"])
        labels = self.dice.choice(["", "l=1", "!l", f"app in ({self.app})"])

        async def listed(store):
            page = await store.list(PODS, NAMESPACE, label_selector=labels, field_selector=fields)
            return [obj.name for obj in page.items if obj.name.startswith(mark)]

        return listed

    def cluster_scoped(self):
        kind, name = self.dice.choice([NODES, NODE_METRICS, PRIORITY_CLASSES]), self.name()
        patch = {"metadata": {"annotations": {"x": self.dice.choice("12")}}, "status": {}}
        return self.dice.choice(
            [
                lambda store: store.create(kind, {"metadata": {"name": name}}),
                lambda store: store.patch(kind, name, patch),
                lambda store: store.patch(kind, name, patch, subresource="status"),
                lambda store: store.delete(kind, name),
            ]
        )


async def answer(line, store):
    """What came of it, without what two stores cannot have in common."""
    try:
        result = await line(store)
    except errors.ApiError as err:
        return f"{type(err).__name__} {err.code} {err.reason}: {err.message}"
    return re.sub(r"(uid|resource_version|[a-z_]*(?:time|timestamp)s?|start_time)='[^']*'", r"\1", repr(result))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_any_story_has_the_same_answers(server, seed):
    teller, memory = Teller(seed), MemoryStore(SystemClock())
    async with Client(load(str(server.data / "component.kubeconfig"))) as client:
        for step in range(STEPS):
            line = teller.line()
            assert (step, await answer(line, memory)) == (step, await answer(line, client))
