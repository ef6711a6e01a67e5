"""New objects: what the server alone gives them, and the defaults of the kinds that components read."""

import random
from collections.abc import Callable, Mapping
from typing import Any

from koordinator.kube.refusals import bad_request
from koordinator.kube.semantics import pods, podspec
from koordinator.kube.semantics.kinds import Traits

Json = dict[str, Any]

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"


class Names:
    """Uids and generated names: random, and the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 — repeatable on purpose

    def uid(self) -> str:
        digits = f"{self._random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"

    def name(self, prefix: str) -> str:
        return prefix[:58] + "".join(self._random.choices(_SUFFIX, k=5))


def _namespace(obj: Json) -> None:
    labels = obj["metadata"].get("labels") or {}
    obj["metadata"]["labels"] = labels | {"kubernetes.io/metadata.name": obj["metadata"]["name"]}
    obj["spec"] = {"finalizers": ["kubernetes"]}
    obj["status"] = {"phase": "Active"}


def _node(obj: Json) -> None:
    obj.setdefault("spec", {})
    status = obj.setdefault("status", {})
    if status.get("capacity") and not status.get("allocatable"):
        status["allocatable"] = dict(status["capacity"])


def _pod(obj: Json) -> None:
    pods.add_default_tolerations(obj["spec"])
    pods.born(obj)


def _budget(obj: Json) -> None:
    obj.setdefault("spec", {})
    obj["status"] = dict.fromkeys(("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"), 0)


def _priority_class(obj: Json) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")
    obj.setdefault("value", 0)


def _replica_set(obj: Json) -> None:
    obj["status"] = {"replicas": 0}


_BORN: Mapping[str, Callable[[Json], None]] = {
    "namespaces": _namespace,
    "nodes": _node,
    "pods": _pod,
    "poddisruptionbudgets.policy": _budget,
    "priorityclasses.scheduling.k8s.io": _priority_class,
    "replicasets.apps": _replica_set,
}


def settle_pod(obj: Json) -> None:
    """The defaults of a pod, whose parts are the caller's to change, on every write. Raises: ApiError (400)."""
    sane(_settle_pod, obj)


def _settle_pod(obj: Json) -> None:
    podspec.canonical_quantities(obj.setdefault("spec", {}))
    pods.default(obj)


def give_birth(key: str, traits: Traits, obj: Json) -> None:
    """What a new object begins with; no posted status where only the subresource may write it. Raises: ApiError (400)."""
    born = _BORN.get(key)
    if born is not None:
        sane(born, obj)
    elif traits.has_status:
        obj.pop("status", None)


def sane(change: Callable[[Json], object], obj: Json) -> None:
    """Carry out what trusts the shape of its object; if that was misplaced, without nulls, and then not at all."""
    try:
        change(obj)
    except (AttributeError, KeyError, TypeError):
        clean = without_nulls(obj)
        obj.clear()
        obj.update(clean)
        try:
            change(obj)
        except (AttributeError, KeyError, TypeError) as err:
            kind = obj.get("kind", "")
            raise bad_request(f"{kind} cannot be handled as a {kind}: {err}") from None


def import_status(key: str, obj: Json, status: Any) -> None:
    """Begin with a status that was recorded elsewhere."""
    if status is not None:
        obj["status"] = {**obj.get("status", {}), **status} if key == "pods" else status


def without_nulls(value: Any) -> Any:
    """JSON without fields that say null, which to a server are absent."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value
