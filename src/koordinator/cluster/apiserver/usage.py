"""metrics.k8s.io, answered from NodeMetrics: what ``kubectl top`` reads.

A NodeMetric knows usage by pod, not by container: a pod's usage stands under its first container.
"""

from collections.abc import Iterator

import msgspec

from koordinator.api.meta import Struct
from koordinator.cluster.apiserver.calls import Answer, Call
from koordinator.cluster.apiserver.computed import ComputedRules
from koordinator.cluster.apiserver.kinds.base import Json, Kind
from koordinator.cluster.apiserver.refusals import not_found
from koordinator.cluster.apiserver.selectors import entry_test
from koordinator.cluster.apiserver.store import Entry, Store

GROUP = "metrics.k8s.io"
_READ = ("get", "list")
_METRICS = "nodemetrics.slo.koordinator.sh"
_SHOWN = ("cpu", "memory")
_DEFAULT_WINDOW = 60
_FRAME = {
    "timestamp": {"type": "string", "format": "date-time", "description": "When the usage was reported."},
    "window": {"type": "string", "description": "Over which time it is an average."},
}
_USAGE = {"type": "object", "additionalProperties": {"type": "string"}, "description": "Amounts by resource name."}
_CONTAINER = {"type": "object", "properties": {"name": {"type": "string"}, "usage": _USAGE}}
_NODE_SCHEMA: Json = {"type": "object", "properties": {**_FRAME, "usage": _USAGE}}
_POD_SCHEMA: Json = {"type": "object", "properties": {**_FRAME, "containers": {"type": "array", "items": _CONTAINER}}}


class _Amounts(Struct):
    resources: dict[str, str] | None = None


class _NodeUsage(Struct):
    node_usage: _Amounts | None = None


class _PodUsage(Struct):
    name: str = ""
    namespace: str = ""
    pod_usage: _Amounts | None = None


class _Status(Struct):
    update_time: str | None = None
    node_metric: _NodeUsage | None = None
    pods_metric: list[_PodUsage] | None = None


class _Policy(Struct):
    aggregate_duration_seconds: int | None = None


class _Spec(Struct):
    metric_collect_policy: _Policy | None = None


class _NodeMetric(Struct):
    """The part of a NodeMetric that is shown."""

    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)

    def frame(self) -> Json:
        policy = self.spec.metric_collect_policy
        seconds = (policy.aggregate_duration_seconds if policy else None) or _DEFAULT_WINDOW
        return {"timestamp": self.status.update_time, "window": f"{seconds}s"}


class _Named(Struct):
    name: str = ""


class _PodSpec(Struct):
    containers: list[_Named] | None = None
    node_name: str = ""


class _Pod(Struct):
    spec: _PodSpec = msgspec.field(default_factory=_PodSpec)


_decode_metric = msgspec.json.Decoder(_NodeMetric).decode
_decode_pod = msgspec.json.Decoder(_Pod).decode


def kinds(store: Store) -> list[Kind]:
    return [
        Kind(GROUP, "v1beta1", "nodes", "NodeMetrics", _Nodes(store), False, verbs=_READ, singular="node"),
        Kind(GROUP, "v1beta1", "pods", "PodMetrics", _Pods(store), True, verbs=_READ, singular="pod"),
    ]


class _Usage(ComputedRules):
    """One or all, as a metrics server would answer."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def answer(self, call: Call) -> Answer:
        kind = call.kind
        if call.name:
            item = self.one(call.namespace, call.name)
            if item is None:
                raise not_found(kind.plural, kind.group, call.name)
            return Answer(200, msgspec.json.encode({"kind": kind.kind, "apiVersion": kind.api_version, **item}))
        items = list(self.many(call))
        metadata = {"resourceVersion": str(self._store.rv)}
        listed = {"kind": kind.list_name, "apiVersion": kind.api_version, "metadata": metadata, "items": items}
        return Answer(200, msgspec.json.encode(listed))

    def one(self, namespace: str, name: str) -> Json | None:
        raise NotImplementedError

    def many(self, call: Call) -> Iterator[Json]:
        raise NotImplementedError

    def metric(self, node: str) -> _NodeMetric | None:
        """What a node reported; None when it has not, or when the kind is not installed."""
        collection = self._store.find(_METRICS)
        entry = collection.get("", node) if collection is not None else None
        return _reported(entry) if entry is not None else None

    def metrics(self) -> Iterator[tuple[str, _NodeMetric]]:
        for entry in self._store.find(_METRICS) or ():
            if (metric := _reported(entry)) is not None:
                yield entry.name, metric


class _Nodes(_Usage):
    schema = _NODE_SCHEMA

    def one(self, namespace: str, name: str) -> Json | None:
        del namespace
        entry = self._store.get("nodes", "", name)
        metric = self.metric(name)
        return _of_node(entry, metric) if entry is not None and metric is not None else None

    def many(self, call: Call) -> Iterator[Json]:
        test = entry_test(call.query.get("labelSelector", ""), call.query.get("fieldSelector", ""), frozenset())
        for name, metric in sorted(self.metrics(), key=lambda found: found[0]):
            entry = self._store.get("nodes", "", name)
            if entry is not None and (test is None or test(entry)) and (item := _of_node(entry, metric)):
                yield item


class _Pods(_Usage):
    schema = _POD_SCHEMA

    def one(self, namespace: str, name: str) -> Json | None:
        entry = self._store.get("pods", namespace, name)
        metric = self.metric(_decode_pod(entry.raw).spec.node_name) if entry is not None else None
        if entry is None or metric is None:
            return None
        mine = (pod for pod in metric.status.pods_metric or () if (pod.namespace, pod.name) == (namespace, name))
        return next((item for pod in mine if (item := _of_pod(entry, pod, metric))), None)

    def many(self, call: Call) -> Iterator[Json]:
        test = entry_test(call.query.get("labelSelector", ""), call.query.get("fieldSelector", ""), frozenset())
        found = {
            (pod.namespace, pod.name): (pod, metric) for _, metric in self.metrics() for pod in metric.status.pods_metric or ()
        }
        for key in sorted(found):
            entry = self._store.get("pods", *key) if call.namespace in ("", key[0]) else None
            if entry is not None and (test is None or test(entry)) and (item := _of_pod(entry, *found[key])):
                yield item


def _reported(entry: Entry) -> _NodeMetric | None:
    try:
        metric = _decode_metric(entry.raw)
    except msgspec.ValidationError:
        return None
    return metric if metric.status.update_time else None


def _shown(amounts: _Amounts | None) -> dict[str, str]:
    resources = (amounts.resources if amounts else None) or {}
    return {name: resources[name] for name in _SHOWN if name in resources}


def _of_node(entry: Entry, metric: _NodeMetric) -> Json | None:
    usage = _shown(metric.status.node_metric.node_usage if metric.status.node_metric else None)
    if not usage:
        return None
    metadata = {"name": entry.name, "labels": entry.labels, "creationTimestamp": metric.status.update_time}
    return {"metadata": metadata, **metric.frame(), "usage": usage}


def _of_pod(entry: Entry, pod: _PodUsage, metric: _NodeMetric) -> Json | None:
    usage = _shown(pod.pod_usage)
    if not usage:
        return None
    names = [container.name for container in _decode_pod(entry.raw).spec.containers or ()]
    containers = [{"name": name, "usage": usage if first else dict.fromkeys(usage, "0")} for first, name in _marked(names)]
    metadata = {"name": entry.name, "namespace": entry.namespace, "labels": entry.labels}
    return {
        "metadata": {**metadata, "creationTimestamp": metric.status.update_time},
        **metric.frame(),
        "containers": containers,
    }


def _marked(names: list[str]) -> Iterator[tuple[bool, str]]:
    for index, name in enumerate(names):
        yield index == 0, name
