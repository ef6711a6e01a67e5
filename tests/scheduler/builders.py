"""Nodes, pods and clusters of a few words, and Hypothesis strategies for random ones."""

import itertools

from hypothesis import strategies as st

from koordinator.api.core import (
    Affinity,
    Container,
    Node,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    NodeSpec,
    NodeStatus,
    Pod,
    PodSchedulingGate,
    PodSpec,
    PreferredSchedulingTerm,
    ResourceRequirements,
    Taint,
    Toleration,
)
from koordinator.api.meta import ObjectMeta
from koordinator.scheduler.engine.compile import Compiled
from koordinator.scheduler.engine.pod import PodReader
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.plugins.priority_sort import PrioritySort

_numbers = itertools.count()
READER = PodReader()


def node(name="n1", cpu="4", memory="8Gi", *, pods=110, labels=None, taints=(), unschedulable=False, annotations=None, **extra):
    allocatable = {"cpu": cpu, "memory": memory, "pods": pods} | {key.replace("__", "/"): value for key, value in extra.items()}
    return Node(
        api_version="v1",
        kind="Node",
        metadata=ObjectMeta(name=name, labels=labels, annotations=annotations),
        spec=NodeSpec(taints=list(taints), unschedulable=unschedulable),
        status=NodeStatus(allocatable=allocatable),
    )


def pod(name="", cpu=None, memory=None, *, priority=None, labels=None, annotations=None, requests=None, limits=None, **spec):
    number = next(_numbers)
    asked = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value is not None} | (requests or {})
    resources = ResourceRequirements(requests=asked or None, limits=limits)
    meta = ObjectMeta(
        name=name or f"pod-{number}", namespace="default", uid=f"uid-{number}", labels=labels, annotations=annotations
    )
    spec.setdefault("scheduler_name", "koord-scheduler")
    containers = [Container(name="main", resources=resources)]
    return Pod(api_version="v1", kind="Pod", metadata=meta, spec=PodSpec(containers=containers, priority=priority, **spec))


def info(*args, **kwargs):
    return READER.read(pod(*args, **kwargs))


def gates(*names):
    return [PodSchedulingGate(name=name) for name in names]


def requirement(key, operator, *values):
    return NodeSelectorRequirement(key=key, operator=operator, values=list(values) or None)


def term(*expressions, fields=()):
    return NodeSelectorTerm(match_expressions=list(expressions) or None, match_fields=list(fields) or None)


def affinity(required=None, preferred=None):
    terms = NodeSelector(node_selector_terms=list(required)) if required is not None else None
    weighted = [PreferredSchedulingTerm(weight=weight, preference=one) for weight, one in preferred or ()]
    return Affinity(
        node_affinity=NodeAffinity(
            required_during_scheduling_ignored_during_execution=terms,
            preferred_during_scheduling_ignored_during_execution=weighted or None,
        )
    )


def compiled(plugin, columns, pod_info):
    """What one plugin makes of a pod."""
    return Compiled(Profile(["x"], [PrioritySort(), plugin]), pod_info, columns)


# --- random ones -------------------------------------------------------------------------------------------------------------

KEYS, VALUES = ["zone", "gen", "disk"], ["a", "b", "5", "7", "-3", "x1"]
EFFECTS = ["NoSchedule", "PreferNoSchedule", "NoExecute"]

label_maps = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=3)
taints = st.builds(
    Taint, key=st.sampled_from(["t", "u"]), value=st.sampled_from([None, "1", "2"]), effect=st.sampled_from(EFFECTS)
)
tolerations = st.builds(
    Toleration,
    key=st.sampled_from([None, "", "t", "u"]),
    operator=st.sampled_from([None, "", "Equal", "Exists"]),
    value=st.sampled_from([None, "1", "2"]),
    effect=st.sampled_from([None, "", *EFFECTS]),
)
requirements = st.builds(
    NodeSelectorRequirement,
    key=st.sampled_from(KEYS),
    operator=st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Odd"]),
    values=st.one_of(st.none(), st.lists(st.sampled_from(VALUES), max_size=3)),
)
name_fields = st.builds(
    NodeSelectorRequirement,
    key=st.sampled_from(["metadata.name", "metadata.uid"]),
    operator=st.sampled_from(["In", "NotIn"]),
    values=st.lists(st.sampled_from(["n0", "n1", "n2"]), min_size=1, max_size=2),
)
terms = st.builds(
    NodeSelectorTerm,
    match_expressions=st.one_of(st.none(), st.lists(requirements, max_size=2)),
    match_fields=st.one_of(st.none(), st.lists(name_fields, max_size=1)),
)


@st.composite
def nodes(draw, name):
    return node(
        name,
        cpu=draw(st.sampled_from(["0", "1", "2", "4"])),
        memory=draw(st.sampled_from(["0", "1Gi", "4Gi"])),
        pods=draw(st.sampled_from([0, 1, 3, 110])),
        labels=draw(label_maps),
        taints=draw(st.lists(taints, max_size=2)),
        unschedulable=draw(st.booleans()),
        **({"nvidia.com/gpu": draw(st.integers(0, 2))} if draw(st.booleans()) else {}),
    )


@st.composite
def pods(draw):
    requests = draw(
        st.dictionaries(
            st.sampled_from(["cpu", "memory", "nvidia.com/gpu", "example.com/odd"]),
            st.sampled_from(["0", "1", "2"]),
            max_size=3,
        )
    )
    if "memory" in requests:
        requests["memory"] += "Gi"
    required = draw(st.one_of(st.none(), st.lists(terms, max_size=2)))
    preferred = draw(st.lists(st.tuples(st.integers(0, 9), terms), max_size=2))
    return pod(
        requests=requests,
        priority=draw(st.sampled_from([None, 0, 5500, 9500])),
        node_selector=draw(st.one_of(st.none(), label_maps)),
        affinity=draw(st.sampled_from([None, affinity(required, preferred)])),
        tolerations=draw(st.lists(tolerations, max_size=2)),
    )


@st.composite
def clusters(draw, most=4):
    return [draw(nodes(f"n{index}")) for index in range(draw(st.integers(1, most)))]
