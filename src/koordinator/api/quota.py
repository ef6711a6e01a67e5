"""ElasticQuota (scheduling.sigs.k8s.io/v1alpha1), ElasticQuotaProfile (quota.koordinator.sh/v1alpha1), and their keys."""

from typing import Annotated

import msgspec

from koordinator.api import keys, resources
from koordinator.api.annotations import Annotation, As, Flag, Malformed, Plain, Texts, or_default
from koordinator.api.core import Quantities
from koordinator.api.meta import REQUIRED, LabelSelector, Object, Struct

ROOT = "koordinator-root-quota"
SYSTEM = "koordinator-system-quota"
DEFAULT = "koordinator-default-quota"

DEFAULT_RESOURCE_KEYS = ["cpu", "memory"]


class ElasticQuotaSpec(Struct):
    """What the quota is guaranteed, and what it can never exceed."""

    min: Quantities | None = None  #: Guaranteed.
    max: Quantities | None = None  #: Never exceeded.


class ElasticQuotaStatus(Struct):
    used: Quantities | None = None  #: By its pods.


class ElasticQuota(Object):
    """A node of the quota tree; its place and rules are labels and annotations."""

    spec: ElasticQuotaSpec = msgspec.field(default_factory=ElasticQuotaSpec)
    status: ElasticQuotaStatus = msgspec.field(default_factory=ElasticQuotaStatus)


class ElasticQuotaProfileSpec(Struct):
    """The quota that is kept at what the selected nodes have together, times ``resourceRatio`` (a number as text)."""

    quota_name: Annotated[str, REQUIRED] = msgspec.field(default_factory=str)  #: The quota that is kept.
    quota_labels: dict[str, str] | None = None  #: Labels that it gets.
    resource_ratio: str | None = None  #: Share of the nodes' resources, as 0.9.
    node_selector: Annotated[LabelSelector, REQUIRED] | None = None  #: The nodes.


class ElasticQuotaProfile(Object):
    """Makes the root quota of a tree from a set of nodes."""

    spec: ElasticQuotaProfileSpec = msgspec.field(default_factory=ElasticQuotaProfileSpec)


def _amounts(key: str, doc: str) -> Annotation[Quantities]:
    return Annotation(key, Quantities, "ElasticQuota annotation", doc, blank=As.ABSENT)


NAME = Plain(keys.QUOTA_NAME, "Pod label", "The pod's quota; without it, that of its namespace, or the default one.")
PARENT = Plain(keys.QUOTA_PARENT, "ElasticQuota label", "Parent in the tree; absent is the root.")
IS_PARENT = Flag(keys.QUOTA_IS_PARENT, "ElasticQuota label", "The quota has quotas below it, and no pods.")
IS_ROOT = Flag(keys.QUOTA_IS_ROOT, "ElasticQuota label", "The quota is the root of a tree of its own.")
TREE_ID = Plain(keys.QUOTA_TREE_ID, "ElasticQuota and ElasticQuotaProfile label", "The tree; empty is the default tree.")
PROFILE = Plain(keys.QUOTA_PROFILE, "ElasticQuota label", "The profile that keeps the quota.")
IGNORE_DEFAULT_TREE = Flag(
    keys.QUOTA_IGNORE_DEFAULT_TREE, "ElasticQuota label", "The tree's nodes do not count in the default tree."
)
NOT_LENT = Flag(
    keys.QUOTA_ALLOW_LENT_RESOURCE, "ElasticQuota label", "false: unused guarantees are not lent to others.", on_text="false"
)
ALLOW_FORCE_UPDATE = Flag(
    keys.QUOTA_ALLOW_FORCE_UPDATE, "ElasticQuota label", "The webhook lets otherwise refused updates pass."
)
SHARED_WEIGHT = _amounts(keys.QUOTA_SHARED_WEIGHT, "Share of what is left over; max where absent, unreadable or all zero.")
RUNTIME = _amounts(keys.QUOTA_RUNTIME, "Written by the scheduler: what the quota may use now.")
REQUEST = _amounts(keys.QUOTA_REQUEST, "Written by the scheduler: what is asked, limited to what may be.")
CHILD_REQUEST = _amounts(keys.QUOTA_CHILD_REQUEST, "Written by the scheduler: what the quotas below ask.")
ALLOCATED = _amounts(keys.QUOTA_ALLOCATED, "Written by the scheduler: what the quotas below have.")
GUARANTEED = _amounts(keys.QUOTA_GUARANTEED, "Written by the scheduler: what is guaranteed now.")
NON_PREEMPTIBLE_REQUEST = _amounts(
    keys.QUOTA_NON_PREEMPTIBLE_REQUEST, "Written by the scheduler: asked by non-preemptible pods."
)
NON_PREEMPTIBLE_USED = _amounts(keys.QUOTA_NON_PREEMPTIBLE_USED, "Written by the scheduler: used by non-preemptible pods.")
UNSCHEDULABLE_RESOURCE = _amounts(keys.QUOTA_UNSCHEDULABLE_RESOURCE, "What the tree's nodes have and may not be used now.")
TOTAL_RESOURCE = _amounts(keys.QUOTA_TOTAL_RESOURCE, "What the tree's nodes have.")
ADMISSION = _amounts(keys.QUOTA_ADMISSION, "What pods may ask in sum to be let into the cluster.")
RESOURCE_KEYS: Annotation[list[str]] = Annotation(
    keys.QUOTA_RESOURCE_KEYS,
    list[str],
    "ElasticQuotaProfile annotation",
    "Resources that the profile keeps; cpu and memory if absent.",
)
MAX_STRICT_CHECK_RESOURCE_KEYS: Annotation[list[str]] = Annotation(
    keys.QUOTA_MAX_STRICT_CHECK_RESOURCE_KEYS,
    list[str],
    "ElasticQuota annotation",
    "Resources whose max every child must keep, too.",
)
NAMESPACES: Annotation[list[str]] = Annotation(
    keys.QUOTA_NAMESPACES, list[str], "ElasticQuota annotation", "Namespaces whose pods belong to the quota."
)


def parent(name: str, labels: Texts | None) -> str:
    """The parent's name; the root has none."""
    return "" if name == ROOT else PARENT.read(labels) or ROOT


def shared_weight(quota: ElasticQuota) -> Quantities:
    """The quota's weight per resource: its annotation, or ``spec.max`` where that says nothing usable."""
    weight = SHARED_WEIGHT.read(quota.annotations)
    if weight is None or isinstance(weight, Malformed) or resources.is_zero(resources.amounts(weight)):
        return quota.spec.max or {}
    return weight


def resource_keys(annotations: Texts | None) -> list[str]:
    """Resources that a profile keeps."""
    return or_default(RESOURCE_KEYS.read(annotations), DEFAULT_RESOURCE_KEYS)
