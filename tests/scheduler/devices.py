"""Claims, classes and slices of a few words, and a world with the plugin that gives devices away."""

import asyncio
import itertools

import msgspec
import numpy as np

from koordinator.api import dra
from koordinator.api.core import PodResourceClaim, PodResourceClaimStatus
from koordinator.api.registry import RESOURCE_CLAIMS
from koordinator.clock import ManualClock
from koordinator.kube.memory.store import MemoryStore
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.evaluate import Evaluator
from koordinator.scheduler.engine.framework import Status
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.engine.pod import PodReader
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.plugins.dynamic_resources.plugin import DynamicResources
from koordinator.scheduler.plugins.dynamic_resources.stock import Stock
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from scheduler import builders

DRIVER = "gpu.example.com"
NONE = "cannot allocate all claims"
A100 = f'device.attributes["{DRIVER}"].model == "A100"'
_numbers = itertools.count(1)


def meta(name, **extra):
    number = next(_numbers)
    return {"name": name, "uid": f"uid-{name}-{number}", "resourceVersion": str(number), **extra}


def device(name="d0", *, counters=None, **attributes):
    """Attributes by plain name: text, number or truth; ``memory`` is a capacity."""
    memory = attributes.pop("memory", None)
    kinds = {str: "string", int: "int", bool: "bool"}
    found = {"name": name, "attributes": {key: {kinds[type(value)]: value} for key, value in attributes.items()}}
    if memory:
        found["capacity"] = {"memory": {"value": memory}}
    if counters:
        amounts = {key: {"value": str(value)} for key, value in counters.items()}
        found["consumesCounters"] = [{"counterSet": "set", "counters": amounts}]
    return found


def slice_(node="", devices=(), *, name="", pool="", generation=1, count=1, driver=DRIVER, **spec):
    place = {"nodeName": node} if node else {}
    name = name or f"{driver}-{pool or node}"
    body = {
        "metadata": meta(name),
        "spec": {
            "driver": driver,
            "pool": {"name": pool or node, "generation": generation, "resourceSliceCount": count},
            "devices": list(devices),
            **place,
            **spec,
        },
    }
    return msgspec.convert(body, dra.ResourceSlice)


def class_(name="gpu", *expressions, **spec):
    selectors = [{"cel": {"expression": one}} for one in expressions]
    return msgspec.convert({"metadata": meta(name), "spec": {"selectors": selectors, **spec}}, dra.DeviceClass)


def exactly(name="r0", class_name="gpu", *expressions, **fields):
    selectors = [{"cel": {"expression": one}} for one in expressions]
    return {"name": name, "exactly": {"deviceClassName": class_name, "selectors": selectors, **fields}}


def claim(name, *requests, constraints=(), owner=None, annotations=None, config=(), **status):
    extra = {"namespace": "default", "annotations": annotations}
    if owner is not None:
        ref = {"apiVersion": "v1", "kind": "Pod", "name": owner.name, "uid": owner.metadata.uid, "controller": True}
        extra["ownerReferences"] = [ref]
    devices = {"requests": list(requests), "constraints": list(constraints), "config": list(config)}
    return msgspec.convert({"metadata": meta(name, **extra), "spec": {"devices": devices}, "status": status}, dra.ResourceClaim)


def pod(*claims, **fields):
    """A pod that uses claims by name."""
    entries = [PodResourceClaim(name=f"c{place}", resource_claim_name=name) for place, name in enumerate(claims)]
    return builders.pod(resource_claims=entries, **fields)


def template_pod(claim_name=None, **fields):
    """A pod with a claim from a template; made already if it has a name."""
    one = builders.pod(resource_claims=[PodResourceClaim(name="gpu", resource_claim_template_name="one-gpu")], **fields)
    if claim_name is not None:
        one.status.resource_claim_statuses = [PodResourceClaimStatus(name="gpu", resource_claim_name=claim_name)]
    return one


class World:
    """Nodes, what informers have told, a store that takes what the plugin writes."""

    def __init__(self, *nodes):
        self.cluster, self.clock, self.reader = Cluster(), ManualClock(), PodReader()
        self.store = MemoryStore(clock=self.clock)
        self.stock = self.cluster.shared(Stock)
        self.plugin = DynamicResources(Handle(self.cluster, self.store, self.clock))
        self.profile = Profile(["x"], [PrioritySort(), self.plugin])
        self.evaluator = Evaluator(self.profile, self.cluster.columns)
        for name in nodes:
            self.cluster.set_node(builders.node(name, labels={"kubernetes.io/hostname": name}))

    def tell(self, *objects):
        kept = {
            dra.ResourceClaim: self.stock.claims,
            dra.DeviceClass: self.stock.classes,
            dra.ResourceSlice: self.stock.slices,
        }
        for one in objects:
            kept[type(one)].object_set(one)

    def judged(self, one):
        """The nodes that take a pod, or why none does."""
        evaluation = self.evaluator.evaluate(self.reader.read(one))
        if isinstance(evaluation, Status):
            return evaluation.message
        columns = self.cluster.columns
        found = [columns.names[row] for row in np.flatnonzero(evaluation.feasible[: columns.size])]
        return found or evaluation.diagnose().reasons

    def reserve(self, one, node):
        """Cycle state of a pod that has been given its devices, or the refusal."""
        state = {}
        status = self.plugin.reserve(state, self.reader.read(one), node)
        return state if status is None else status.message

    def devices_of(self, state):
        found = state["DynamicResources/decided"].allocations.values()
        return [result["device"] for allocation in found for result in allocation["devices"]["results"]]

    async def passing(self, work):
        """What comes of work while time passes."""
        task = asyncio.ensure_future(work)
        while not task.done():
            await asyncio.sleep(0)
            self.clock.advance(1)
        return task.result()

    async def stored(self, *claims):
        """Claims as the API server has them, known to the plugin too."""
        found = []
        for one in claims:
            body = msgspec.to_builtins(one)
            for key in ("uid", "resourceVersion"):
                body["metadata"].pop(key)
            found.append(await self.store.create(RESOURCE_CLAIMS, body, "default"))
        self.tell(*found)
        return found


def world(*nodes, per_node=2, **attributes):
    found = World(*nodes)
    found.tell(class_("gpu", f'device.driver == "{DRIVER}"'))
    for name in nodes:
        found.tell(slice_(name, [device(f"d{place}", **attributes) for place in range(per_node)]))
    return found


def mixed():
    """One node with three kinds of devices."""
    here = World("n1")
    small, large = {"model": "T4", "memory": "16Gi", "numa": 0}, {"model": "A100", "memory": "80Gi"}
    kinds = [device("a", **small), device("b", **large, numa=0), device("c", **large, numa=1), device("e", model="odd")]
    here.tell(class_("gpu"), class_("a100", A100), slice_("n1", kinds))
    return here


def given(here, claim, node="n1"):
    """The devices that a claim gets, by request; or why it gets none."""
    here.tell(claim)
    state = here.reserve(pod(claim.name), node)
    if isinstance(state, str):
        return state
    (allocation,) = state["DynamicResources/decided"].allocations.values()
    return [(result["request"], result["device"]) for result in allocation["devices"]["results"]]
