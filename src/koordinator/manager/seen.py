"""Pods as the manager keeps them: what the formulas and webhooks ask for, a tenth of the whole.

A hundred thousand pods are in our caches; each is boiled down the moment it is decoded.
"""

import sys

import msgspec

from koordinator.api import keys
from koordinator.api.core import Pod, PodSpec, PodStatus
from koordinator.api.meta import ObjectMeta
from koordinator.api.registry import PODS, Resource
from koordinator.manager.overcommit.inputs import NO_SHARE, PodShare, pod_share

_SPEC, _STATUS = PodSpec(), PodStatus()
_BOILED_DOWN = "~"
"""A name that no pod has a field of."""


class SeenPod(Pod):
    """``share`` is what the formulas read of it; its spec and status are gone, and so are labels but that of its quota."""

    share: PodShare = msgspec.field(default=NO_SHARE, name=_BOILED_DOWN)

    def __post_init__(self) -> None:
        if self.share is NO_SHARE:
            self.share = pod_share(self)
            self._boil_down()

    def _boil_down(self) -> None:
        name = self.labels.get(keys.QUOTA_NAME)
        self._keep({keys.QUOTA_NAME: sys.intern(name)} if name else None, None)

    def _keep(self, labels: dict[str, str] | None, annotations: dict[str, str] | None) -> None:
        meta = self.metadata
        self.api_version, self.kind = PODS.api_version, PODS.kind
        self.metadata = ObjectMeta(
            name=meta.name,
            namespace=sys.intern(meta.namespace),
            uid=meta.uid,
            resource_version=meta.resource_version,
            labels=labels,
            annotations=annotations,
        )
        self.spec, self.status = _SPEC, _STATUS


class LabelledPod(SeenPod):
    """With all its labels and annotations: some gates let users select by any."""

    def _boil_down(self) -> None:
        self._keep(self.metadata.labels, self.metadata.annotations)


SEEN_PODS = Resource(PODS.group, PODS.version, PODS.plural, PODS.kind, type=SeenPod)
LABELLED_PODS = Resource(PODS.group, PODS.version, PODS.plural, PODS.kind, type=LabelledPod)


def pods_for(gates: frozenset[str]) -> Resource[SeenPod]:
    """How much of pods these gates need."""
    by_any_label = {"ColocationProfileController", "BindingAdmissionWebhook"} & gates
    return LABELLED_PODS if by_any_label else SEEN_PODS
