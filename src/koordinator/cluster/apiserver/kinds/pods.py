"""Pods: phase and quality of service at birth, what may change later, how they are listed."""

from collections.abc import Iterator

import msgspec

from koordinator.api import core, qos
from koordinator.cluster.apiserver.kinds import columns, podspec
from koordinator.cluster.apiserver.kinds.base import Json, Kind, Rules, undecodable
from koordinator.cluster.apiserver.refusals import FieldError, Refused
from koordinator.kube.semantics import fields as selectable
from koordinator.kube.semantics import pods as semantics
from koordinator.kube.semantics import podspec as defaults


class PodRules(Rules):
    columns = columns.PODS
    model = core.Pod
    fields = selectable.PODS.names
    has_status = True
    generation = True

    def index(self, obj: Json) -> dict[str, str]:
        return selectable.PODS.read(obj)

    def decode(self, obj: Json, kind: Kind, *, strict: bool = False) -> Json:
        obj = super().decode(obj, kind, strict=strict)
        try:
            defaults.canonical_quantities(obj.setdefault("spec", {}))
        except Refused as refusal:
            raise undecodable(kind, refusal.message) from None
        return obj

    def default(self, obj: Json) -> None:
        obj.setdefault("status", {})
        semantics.default(obj)

    def prepare_create(self, obj: Json) -> None:
        semantics.born(obj)
        obj["status"]["qosClass"] = self.quality(obj)

    def prepare_update(self, obj: Json, old: Json) -> None:
        obj["status"].setdefault("qosClass", old["status"].get("qosClass", ""))

    @staticmethod
    def quality(obj: Json) -> str:
        """The Kubernetes QoS class that the spec amounts to."""
        return qos.kube(core.Pod(spec=msgspec.convert(obj["spec"], core.PodSpec)))

    def validate(self, obj: Json) -> Iterator[FieldError]:
        return podspec.errors(obj["spec"])

    def validate_update(self, obj: Json, old: Json) -> Iterator[FieldError]:
        return semantics.update_errors(obj["spec"], old["spec"])
