"""Builders for controller tests: a case shows only what matters to it."""

import itertools

from koordinator.api.core import ContainerStatus, Node, NodeSpec, Pod, PodSpec, PodStatus
from koordinator.api.meta import Condition, LabelSelector, ObjectMeta, OwnerReference, format_time
from koordinator.cluster.controllers.objects import (
    DaemonSet,
    DaemonSetSpec,
    DaemonSetUpdateStrategy,
    Deployment,
    DeploymentSpec,
    Job,
    JobSpec,
    ReplicaSet,
    ReplicaSetSpec,
    ReplicaSetStatus,
    RollingUpdate,
    StatefulRollingUpdate,
    StatefulSet,
    StatefulSetSpec,
    StatefulSetUpdateStrategy,
)

NOW = 1_767_225_600.0
LABELS = {"app": "web"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "main", "image": "v1"}]}}
_versions = itertools.count(1)


def meta(name, uid=None, **fields):
    fields.setdefault("creation_timestamp", format_time(NOW - 100))
    fields.setdefault("resource_version", str(next(_versions)))
    return ObjectMeta(name=name, namespace=fields.pop("namespace", "default"), uid=uid or f"uid-{name}", generation=1, **fields)


def owned_by(owner, kind):
    return [OwnerReference(api_version="apps/v1", kind=kind, name=owner.name, uid=owner.metadata.uid, controller=True)]


def pod(
    name, owner=None, kind="ReplicaSet", *, phase="Running", ready=True, node="n1", deleting=False, ready_since=NOW, **fields
):
    metadata = meta(
        name,
        labels=fields.pop("labels", LABELS),
        annotations=fields.pop("annotations", None),
        owner_references=owned_by(owner, kind) if owner is not None else None,
        deletion_timestamp=format_time(NOW) if deleting else None,
        **({"creation_timestamp": fields.pop("created")} if "created" in fields else {}),
    )
    state = "True" if ready and phase == "Running" else "False"
    conditions = [Condition(type="Ready", status=state, last_transition_time=format_time(ready_since))]
    statuses = [ContainerStatus(name="main", restart_count=fields.pop("restarts", 0))]
    return Pod(
        metadata=metadata,
        spec=PodSpec(node_name=node, tolerations=fields.pop("tolerations", None)),
        status=PodStatus(phase=phase, conditions=conditions, container_statuses=statuses),
    )


def replica_set(name="web", replicas=3, owner=None, *, template=TEMPLATE, deleting=False, status=None, **fields):
    metadata = meta(
        name,
        labels=LABELS,
        owner_references=owned_by(owner, "Deployment") if owner is not None else None,
        deletion_timestamp=format_time(NOW) if deleting else None,
        **fields,
    )
    spec = ReplicaSetSpec(replicas=replicas, selector=LabelSelector(match_labels=LABELS), template=template)
    return ReplicaSet(metadata=metadata, spec=spec, status=status or ReplicaSetStatus(observed_generation=1))


def deployment(name="web", replicas=3, *, template=TEMPLATE, **spec):
    return Deployment(
        metadata=meta(name, labels=LABELS),
        spec=DeploymentSpec(replicas=replicas, selector=LabelSelector(match_labels=LABELS), template=template, **spec),
    )


def daemon_set(name="agent", *, template=TEMPLATE, surge=0, unavailable=1, strategy="RollingUpdate", **spec):
    update = RollingUpdate(max_surge=surge, max_unavailable=unavailable) if strategy == "RollingUpdate" else None
    return DaemonSet(
        metadata=meta(name, labels=LABELS),
        spec=DaemonSetSpec(
            selector=LabelSelector(match_labels=LABELS),
            template=template,
            update_strategy=DaemonSetUpdateStrategy(type=strategy, rolling_update=update),
            **spec,
        ),
    )


def stateful_set(name="db", replicas=3, *, template=TEMPLATE, strategy="RollingUpdate", partition=None, **spec):
    update = StatefulRollingUpdate(partition=partition) if strategy == "RollingUpdate" else None
    return StatefulSet(
        metadata=meta(name, labels=LABELS),
        spec=StatefulSetSpec(
            replicas=replicas,
            selector=LabelSelector(match_labels=LABELS),
            template=template,
            service_name="db",
            update_strategy=StatefulSetUpdateStrategy(type=strategy, rolling_update=update),
            **spec,
        ),
    )


def node(name, *, labels=None, taints=None):
    return Node(metadata=ObjectMeta(name=name, uid=f"uid-{name}", labels=labels), spec=NodeSpec(taints=taints))


def job(name="batch", **spec):
    template = {"metadata": {"labels": {"job": name}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "main"}]}}
    return Job(
        metadata=meta(name),
        spec=JobSpec(selector=LabelSelector(match_labels={"job": name}), template=spec.pop("template", template), **spec),
    )


def of(kind, changes):
    return [change for change in changes if isinstance(change, kind)]
