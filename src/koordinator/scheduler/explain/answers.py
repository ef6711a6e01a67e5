"""What explanations say, as it goes over HTTP and out of ``koord explain -o json``."""

import msgspec

from koordinator.scheduler.engine.remedy import Remedy


class Answer(msgspec.Struct, rename="camel", omit_defaults=False, kw_only=True):
    """Base: camelCase on the wire."""


class Refusal(Answer):
    """One plugin's objection to one node."""

    plugin: str
    reasons: list[str]
    preempt_might_help: bool
    remedies: list[Remedy] = []


class NodeVerdict(Answer):
    """One node, as the pod finds it. ``score`` and its parts (weighted, by plugin) only where it fits."""

    node: str
    refusals: list[Refusal] = []
    score: int | None = None
    parts: dict[str, int] = {}

    @property
    def effort(self) -> float:
        """How much would have to change; objections that nobody can tell the remedy of weigh most."""
        return sum(sum(one.size for one in refusal.remedies) if refusal.remedies else 10.0 for refusal in self.refusals)


class Group(Answer):
    """Nodes that one plugin refuses for one reason, as the filters' first objection."""

    plugin: str
    reason: str
    preempt_might_help: bool
    nodes: list[str]


class Decision(Answer):
    """How a node was chosen. ``others`` are the next best; known only when the scheduler had the time to look."""

    node: str
    at: float
    attempt: int
    fitting: int
    nodes: int
    score: int
    tied: int
    parts: dict[str, int]
    others: list[NodeVerdict] = []


class PodExplanation(Answer):
    """``state``: bound, binding, permit (it has a node and waits for a plugin's word), active, backoff, unschedulable, gated or
    in flight. Ages are seconds before the answer.
    """

    namespace: str
    name: str
    uid: str
    state: str
    scheduler: str = ""
    node: str = ""
    waiting_seconds: float = 0.0
    attempts: int = 0
    last_attempt_seconds: float | None = None
    message: str = ""
    """What the last attempt said."""
    nominated: str = ""
    """The node promised to it, where pods are making way."""
    nodes: int = 0
    fitting: int = 0
    """How many nodes would take the pod at the moment of the answer."""
    sample: int | None = None
    """kube-scheduler would have looked no further after so many nodes that fit, with the percentageOfNodesToScore that is
    configured. None where none is, or the cluster is too small for it to matter.
    """
    groups: list[Group] = []
    closest: list[NodeVerdict] = []
    """Nodes that would take it, best first; if there are none, those where the least would have to change."""
    remedies: list[Remedy] = []
    """What would have to change where a plugin refuses the pod whatever the node; all of them together."""
    decision: Decision | None = None


class Held(Answer):
    """A resource of a node."""

    name: str
    allocatable: str
    requested: str
    free: str


class Waiting(Answer):
    """A pending pod and what the node has against it; no refusals: it fits."""

    pod: str
    refusals: list[Refusal]


class NodeExplanation(Answer):
    """What is on a node, and which pending pods it would take."""

    name: str
    unschedulable: bool
    taints: list[str]
    labels: dict[str, str]
    resources: list[Held]
    pods: list[str]
    assumed: list[str]
    waiting: list[Waiting]
    notes: list[str] = []
    """What plugins have to say of the node."""
    not_shown: int = 0
