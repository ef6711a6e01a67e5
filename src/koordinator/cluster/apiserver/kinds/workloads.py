"""Deployments, ReplicaSets, Jobs and their like: defaults, selectors that match their own template, immutable fields."""

from collections.abc import Iterator
from typing import Any

import msgspec

from koordinator.api import selectors
from koordinator.api.core import PodTemplateSpec, ReplicaSet
from koordinator.api.meta import LabelSelector, Object, Struct
from koordinator.cluster.apiserver.kinds import columns, podspec
from koordinator.cluster.apiserver.kinds.base import Json, Kind, Rules, undecodable
from koordinator.cluster.apiserver.kinds.metadata import label_errors
from koordinator.cluster.apiserver.refusals import FieldError, Refused, forbidden_field, required, unsupported, wrong
from koordinator.kube.semantics import fields as selectable
from koordinator.kube.semantics import podspec as defaults

_HISTORY = 10


class _WorkloadSpec(Struct):
    replicas: int | None = None
    min_ready_seconds: int | None = None
    selector: LabelSelector | None = None
    template: PodTemplateSpec | None = None
    parallelism: int | None = None
    completions: int | None = None
    backoff_limit: int | None = None
    active_deadline_seconds: int | None = None
    ttl_seconds_after_finished: int | None = None
    suspend: bool | None = None


class _Workload(Object):
    spec: _WorkloadSpec = msgspec.field(default_factory=_WorkloadSpec)


class WorkloadRules(Rules):
    """What all kinds with a pod template share."""

    model: type[Object] = _Workload
    has_status = True
    generation = True
    restart: tuple[str, ...] = ("Always",)
    scaled = True
    immutable: tuple[str, ...] = ("selector",)

    def decode(self, obj: Json, kind: Kind, *, strict: bool = False) -> Json:
        obj = super().decode(obj, kind, strict=strict)
        template = obj.setdefault("spec", {}).setdefault("template", {})
        try:
            defaults.canonical_quantities(template.setdefault("spec", {}))
        except Refused as refusal:
            raise undecodable(kind, f"spec.template.{refusal.message}") from None
        return obj

    def default(self, obj: Json) -> None:
        spec = obj["spec"]
        if self.scaled:
            spec.setdefault("replicas", 1)
        spec["template"].setdefault("metadata", {})
        defaults.default(spec["template"]["spec"])

    def prepare_create(self, obj: Json) -> None:
        obj["status"] = {}

    def validate(self, obj: Json) -> Iterator[FieldError]:
        spec, template = obj["spec"], obj["spec"]["template"]
        for field in ("replicas", "minReadySeconds", "parallelism", "completions", "backoffLimit"):
            if (number := spec.get(field)) is not None and number < 0:
                yield wrong(f"spec.{field}", number, "must be greater than or equal to 0")
        yield from _selector_errors(spec.get("selector"), template["metadata"].get("labels") or {})
        yield from label_errors(template["metadata"].get("labels"), "spec.template.metadata.labels")
        yield from podspec.errors(template["spec"], "spec.template.spec")
        if (policy := template["spec"]["restartPolicy"]) not in self.restart:
            yield unsupported("spec.template.spec.restartPolicy", policy, self.restart)

    def validate_update(self, obj: Json, old: Json) -> Iterator[FieldError]:
        for field in self.immutable:
            if (now := obj["spec"].get(field)) != old["spec"].get(field):
                yield wrong(f"spec.{field}", now, "field is immutable")


def _selector_errors(selector: Json | None, labels: dict[str, str]) -> Iterator[FieldError]:
    if selector is None:
        yield required("spec.selector")
        return
    try:
        compiled = selectors.compile_(msgspec.convert(selector, LabelSelector))
    except (ValueError, msgspec.ValidationError) as err:
        yield wrong("spec.selector", selector, str(err))
        return
    if compiled.everything:
        yield wrong("spec.selector", selector, "empty selector is invalid for deployment")
    elif not compiled.matches(labels):
        yield wrong("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")


class DeploymentRules(WorkloadRules):
    columns = columns.DEPLOYMENTS

    def default(self, obj: Json) -> None:
        super().default(obj)
        spec = obj["spec"]
        strategy = spec.setdefault("strategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", "25%")
            rolling.setdefault("maxSurge", "25%")
        spec.setdefault("revisionHistoryLimit", _HISTORY)
        spec.setdefault("progressDeadlineSeconds", 600)

    def validate(self, obj: Json) -> Iterator[FieldError]:
        yield from super().validate(obj)
        kind = obj["spec"]["strategy"]["type"]
        if kind not in ("Recreate", "RollingUpdate"):
            yield unsupported("spec.strategy.type", kind, ("Recreate", "RollingUpdate"))
        elif kind == "Recreate" and obj["spec"]["strategy"].get("rollingUpdate"):
            yield forbidden_field("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")


class ReplicaSetRules(WorkloadRules):
    columns = columns.REPLICA_SETS
    model = ReplicaSet
    fields = selectable.REPLICA_SETS.names

    def index(self, obj: Json) -> dict[str, str]:
        return selectable.REPLICA_SETS.read(obj)

    def prepare_create(self, obj: Json) -> None:
        obj["status"] = {"replicas": 0}


class DaemonSetRules(WorkloadRules):
    columns = columns.DAEMON_SETS
    scaled = False

    def default(self, obj: Json) -> None:
        super().default(obj)
        strategy = obj["spec"].setdefault("updateStrategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", 1)
            rolling.setdefault("maxSurge", 0)
        obj["spec"].setdefault("revisionHistoryLimit", _HISTORY)

    def prepare_create(self, obj: Json) -> None:
        counts = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
        obj["status"] = dict.fromkeys(counts, 0)


class StatefulSetRules(WorkloadRules):
    columns = columns.STATEFUL_SETS
    immutable = ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates")

    def default(self, obj: Json) -> None:
        super().default(obj)
        spec = obj["spec"]
        spec.setdefault("podManagementPolicy", "OrderedReady")
        strategy = spec.setdefault("updateStrategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
        spec.setdefault("revisionHistoryLimit", _HISTORY)

    def prepare_create(self, obj: Json) -> None:
        obj["status"] = {"replicas": 0, "availableReplicas": 0}


class JobRules(WorkloadRules):
    columns = columns.JOBS
    restart = ("OnFailure", "Never")
    scaled = False
    immutable = ("completions", "selector", "template", "completionMode")
    fields = selectable.JOBS.names

    def index(self, obj: Json) -> dict[str, str]:
        return selectable.JOBS.read(obj)

    def default(self, obj: Json) -> None:
        super().default(obj)
        spec = obj["spec"]
        if spec.get("completions") is None and spec.get("parallelism") is None:
            spec["completions"] = 1
        if spec.get("parallelism") is None:
            spec["parallelism"] = 1
        for field, value in (("backoffLimit", 6), ("completionMode", "NonIndexed"), ("suspend", False)):
            spec.setdefault(field, value)
        spec.setdefault("podReplacementPolicy", "TerminatingOrFailed")

    def prepare_create(self, obj: Json) -> None:
        super().prepare_create(obj)
        if not obj["spec"].get("manualSelector"):
            _claim(obj)

    def validate_update(self, obj: Json, old: Json) -> Iterator[FieldError]:
        now, before = obj["spec"], old["spec"]
        for field in self.immutable:
            changed = now.get(field) != before.get(field)
            if changed and not (field == "template" and before.get("suspend")):
                yield wrong(f"spec.{field}", now.get(field), "field is immutable")


def _claim(job: Json) -> None:
    """A job owns exactly the pods that carry its uid."""
    uid, name = job["metadata"]["uid"], job["metadata"]["name"]
    owned = {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name}
    owned |= {"controller-uid": uid, "job-name": name}
    labels: dict[str, Any] = job["spec"]["template"]["metadata"].setdefault("labels", {})
    labels.update(owned)
    selector = job["spec"].get("selector") or {}
    selector.setdefault("matchLabels", {})["batch.kubernetes.io/controller-uid"] = uid
    job["spec"]["selector"] = selector
