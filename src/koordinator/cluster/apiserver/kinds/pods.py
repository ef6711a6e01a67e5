"""Pods: phase and quality of service at birth, what may change later, how they are listed."""

import copy
from collections.abc import Iterator

import msgspec

from koordinator.api import core, qos
from koordinator.cluster.apiserver.kinds import columns, podspec
from koordinator.cluster.apiserver.kinds.base import Json, Kind, Rules, undecodable
from koordinator.cluster.apiserver.refusals import FieldError, Refused, forbidden_field, wrong

_MUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_NOT_READY = tuple(
    {"key": f"node.kubernetes.io/{name}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for name in ("not-ready", "unreachable")
)


class PodRules(Rules):
    columns = columns.PODS
    model = core.Pod
    fields = frozenset(
        {"spec.nodeName", "spec.schedulerName", "spec.restartPolicy", "spec.serviceAccountName", "spec.hostNetwork"}
        | {"status.phase", "status.podIP", "status.nominatedNodeName"}
    )
    has_status = True
    generation = True

    def index(self, obj: Json) -> dict[str, str]:
        spec, status = obj["spec"], obj["status"]
        return {
            "spec.nodeName": spec.get("nodeName", ""),
            "spec.schedulerName": spec.get("schedulerName", ""),
            "spec.restartPolicy": spec.get("restartPolicy", ""),
            "spec.serviceAccountName": spec.get("serviceAccountName", ""),
            "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
            "status.phase": status.get("phase", ""),
            "status.podIP": status.get("podIP", ""),
            "status.nominatedNodeName": status.get("nominatedNodeName", ""),
        }

    def decode(self, obj: Json, kind: Kind) -> None:
        super().decode(obj, kind)
        try:
            podspec.canonical_quantities(obj.setdefault("spec", {}))
        except Refused as refusal:
            raise undecodable(kind, refusal.message) from None

    def default(self, obj: Json) -> None:
        spec = obj["spec"]
        podspec.default(spec)
        spec.setdefault("enableServiceLinks", True)
        podspec.requests_follow_limits(spec)

    def prepare_create(self, obj: Json) -> None:
        obj["spec"].setdefault("serviceAccountName", "default")
        obj["status"] = {"phase": "Pending", "qosClass": self.quality(obj)}
        if obj["spec"].get("schedulingGates"):
            message = "Scheduling is blocked due to non-empty scheduling gates"
            gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": message}
            obj["status"]["conditions"] = [{**gated, "lastProbeTime": None, "lastTransitionTime": None}]

    def prepare_update(self, obj: Json, old: Json) -> None:
        obj["status"].setdefault("qosClass", old["status"].get("qosClass", ""))

    @staticmethod
    def quality(obj: Json) -> str:
        """The Kubernetes QoS class that the spec amounts to."""
        return qos.kube(core.Pod(spec=msgspec.convert(obj["spec"], core.PodSpec)))

    def validate(self, obj: Json) -> Iterator[FieldError]:
        return podspec.errors(obj["spec"])

    def validate_update(self, obj: Json, old: Json) -> Iterator[FieldError]:
        if obj["spec"] == old["spec"]:
            return
        if _frozen(obj["spec"], old["spec"]) != _frozen(old["spec"], old["spec"]):
            yield forbidden_field("spec", _MUTABLE)
        before, now = old["spec"].get("tolerations") or [], obj["spec"].get("tolerations") or []
        if any(toleration not in now for toleration in before):
            yield forbidden_field("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
        gates = [gate["name"] for gate in old["spec"].get("schedulingGates") or ()]
        if any(gate["name"] not in gates for gate in obj["spec"].get("schedulingGates") or ()):
            yield forbidden_field("spec.schedulingGates", "only deletion is allowed, but found new scheduling gate")
        deadline, earlier = obj["spec"].get("activeDeadlineSeconds"), old["spec"].get("activeDeadlineSeconds")
        if earlier is not None and (deadline is None or deadline > earlier):
            yield wrong("spec.activeDeadlineSeconds", deadline, "must be less than or equal to previous value")


def add_default_tolerations(spec: Json) -> None:
    """Five minutes of patience with a node that stops answering, unless the pod says otherwise."""
    tolerations = spec.get("tolerations") or []
    missing = [wanted for wanted in _NOT_READY if not any(_covers(toleration, wanted["key"]) for toleration in tolerations)]
    if missing:
        spec["tolerations"] = [*tolerations, *map(dict, missing)]


def _covers(toleration: Json, key: object) -> bool:
    return toleration.get("key") in (key, None, "") and toleration.get("effect") in ("NoExecute", None, "")


def _frozen(spec: Json, old: Json) -> Json:
    """A spec without what may change."""
    frozen = copy.copy(spec)
    for field in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        frozen.pop(field, None)
    if old.get("terminationGracePeriodSeconds", 0) < 0:
        frozen.pop("terminationGracePeriodSeconds", None)
    if old.get("schedulingGates"):
        frozen.pop("nodeSelector", None)
        frozen.pop("affinity", None)
    for field in ("containers", "initContainers"):
        if field in frozen:
            frozen[field] = [{**container, "image": ""} for container in frozen[field]]
    return frozen
