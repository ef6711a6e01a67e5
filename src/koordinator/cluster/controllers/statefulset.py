"""StatefulSet: pods with names that stay, made in order, given up in reverse, replaced from the last to the first. Pure."""

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from koordinator.api.core import Pod
from koordinator.api.registry import PODS
from koordinator.cluster.controllers import history
from koordinator.cluster.controllers import pods as pods_
from koordinator.cluster.controllers.changes import Change, Create, Outcome, Tell, delete, status
from koordinator.cluster.controllers.objects import (
    CLAIMS,
    CONTROLLER_REVISIONS,
    STATEFUL_SETS,
    ControllerRevision,
    StatefulSet,
    Template,
)
from koordinator.cluster.controllers.ownership import LOOK_AGAIN_SECONDS, claim, unusable
from koordinator.kube.owners import controller_reference

POD_NAME, POD_INDEX = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"


class Stateful(msgspec.Struct, frozen=True):
    """A stateful set with everything that its next step depends on. ``pods`` by number; revisions are full names."""

    owner: StatefulSet
    pods: dict[int, Pod]
    current: str
    update: str
    templates: dict[str, Template]
    claims: Collection[str]
    now: float

    @property
    def numbers(self) -> range:
        start = self.owner.spec.ordinals.start
        return range(start, start + _wanted(self.owner))

    @property
    def in_order(self) -> bool:
        return self.owner.spec.pod_management_policy != "Parallel"

    @property
    def partition(self) -> int:
        """Numbers below this keep the current revision."""
        update = self.owner.spec.update_strategy.rolling_update
        return update.partition or 0 if update is not None else 0

    def works(self, pod: Pod) -> bool:
        wait = pods_.available_in(pod, self.owner.spec.min_ready_seconds, self.now)
        return pods_.is_active(pod) and wait == 0

    def revision_for(self, number: int) -> str:
        old = self.owner.spec.update_strategy.type == "RollingUpdate" and number < self.partition
        return self.current if old and self.current in self.templates else self.update


class Known(msgspec.Struct, frozen=True):
    """What the decision is made from: the set's and unowned objects of its namespace; ``claims`` are the names that exist."""

    pods: Iterable[Pod]
    revisions: Iterable[ControllerRevision]
    claims: Collection[str]


def reconcile(owner: StatefulSet, known: Known, now: float) -> Outcome:
    """What to do now: first the pods and revisions that are the set's own, then the template's record, then the next step."""
    if fault := unusable(STATEFUL_SETS, owner):
        return Outcome([Tell(owner, "InvalidSelector", fault, "Warning")])
    if owner.metadata.deletion_timestamp:
        return Outcome()
    named = [pod for pod in known.pods if number_of(owner, pod) is not None]
    pods = claim(owner, owner.spec.selector, named, (STATEFUL_SETS, PODS))
    past = claim(owner, owner.spec.selector, known.revisions, (STATEFUL_SETS, CONTROLLER_REVISIONS))
    if changes := [*pods.changes, *past.changes]:
        return Outcome(changes, LOOK_AGAIN_SECONDS)
    present = history.digest(owner)
    update = f"{owner.name}-{present}"
    templates = {one.name: history.template_of(one) for one in past.mine} | {update: owner.spec.template}
    numbered = {number: pod for pod in pods.mine if (number := number_of(owner, pod)) is not None}
    state = Stateful(owner, numbered, owner.status.current_revision or update, update, templates, known.claims, now)
    recorded = history.record(owner, STATEFUL_SETS, present, past.mine)
    used = {update, state.current, *(_revision(pod) for pod in pods.mine)}
    spare = [] if recorded else history.forget(owner, past.mine, [name.removeprefix(f"{owner.name}-") for name in used])
    return Outcome([*recorded, *_status(state), *_step(state), *spare], _wait(state))


def number_of(owner: StatefulSet, pod: Pod) -> int | None:
    """The pod's number; None when its name is none of the set's."""
    name, _, number = pod.name.rpartition("-")
    return int(number) if name == owner.name and number.isascii() and number.isdigit() and str(int(number)) == number else None


def _wanted(owner: StatefulSet) -> int:
    return 1 if owner.spec.replicas is None else max(owner.spec.replicas, 0)


def _revision(pod: Pod) -> str:
    return pod.labels.get(history.HASH, "")


def _step(state: Stateful) -> list[Change]:
    """First everybody who is missing, then those too many, then those of an old template. In order means one at a time."""
    changes: list[Change] = []
    for number in state.numbers:
        pod = state.pods.get(number)
        if pod is None:
            changes += _create(state, number)
        elif pod.terminated and not pod.metadata.deletion_timestamp:
            changes += [
                delete(PODS, pod),
                Tell(state.owner, "RecreatingTerminatedPod", f"Recreating pod {pod.name}", "Warning"),
            ]
        elif _hopeless(state, number, pod):
            changes += _delete(state, pod)
        if state.in_order and (pod is None or not state.works(pod)):
            return changes
    surplus = [state.pods[number] for number in sorted(state.pods, reverse=True) if number not in state.numbers]
    if surplus:
        return changes + _give_up(state, surplus)
    return changes + (_replace(state) if not changes else [])


def _hopeless(state: Stateful, number: int, pod: Pod) -> bool:
    """A pod of an old template that does not work is not waited for: it could hold up for ever the template that mends it."""
    rolling = state.owner.spec.update_strategy.type == "RollingUpdate"
    return rolling and pods_.is_active(pod) and not pods_.is_ready(pod) and _revision(pod) != state.revision_for(number)


def _give_up(state: Stateful, surplus: list[Pod]) -> list[Change]:
    """The last first; in order, the next one when the one before is gone."""
    chosen = surplus[:1] if state.in_order else surplus
    return [change for pod in chosen if not pod.metadata.deletion_timestamp for change in _delete(state, pod)]


def _replace(state: Stateful) -> list[Change]:
    if state.owner.spec.update_strategy.type != "RollingUpdate":
        return []
    for number in reversed(state.numbers):
        pod = state.pods.get(number)
        if pod is None or pod.metadata.deletion_timestamp or number < state.partition:
            return []
        if _revision(pod) != state.update:
            return _delete(state, pod)
        if not state.works(pod):
            return []
    return []


def _delete(state: Stateful, pod: Pod) -> list[Change]:
    said = f"delete Pod {pod.name} in StatefulSet {state.owner.name} successful"
    return [delete(PODS, pod), Tell(state.owner, "SuccessfulDelete", said)]


def _create(state: Stateful, number: int) -> list[Change]:
    owner = state.owner
    claims = _claims(state, number)
    body = _pod(state, number)
    said = f"create Pod {body['metadata']['name']} in StatefulSet {owner.name} successful"
    return [*claims, Create(PODS, owner.namespace, body), Tell(owner, "SuccessfulCreate", said)]


def _pod(state: Stateful, number: int) -> dict[str, Any]:
    owner, revision = state.owner, state.revision_for(number)
    template = state.templates[revision]
    body = pods_.from_template(template, owner, controller_reference(STATEFUL_SETS, owner), "")
    name = f"{owner.name}-{number}"
    body["metadata"]["name"] = name
    body["metadata"]["labels"] |= {POD_NAME: name, POD_INDEX: str(number), history.HASH: revision}
    mounted = [{"name": volume, "persistentVolumeClaim": {"claimName": claim}} for volume, claim in _claim_names(owner, number)]
    replaced = {volume["name"] for volume in mounted}
    others = [volume for volume in body["spec"].get("volumes") or [] if volume.get("name") not in replaced]
    identity = {"hostname": name} | ({"subdomain": owner.spec.service_name} if owner.spec.service_name else {})
    body["spec"] |= identity | ({"volumes": [*others, *mounted]} if mounted else {})
    return body


def _claim_names(owner: StatefulSet, number: int) -> list[tuple[str, str]]:
    names = [str((one.get("metadata") or {}).get("name", "")) for one in owner.spec.volume_claim_templates or []]
    return [(name, f"{name}-{owner.name}-{number}") for name in names]


def _claims(state: Stateful, number: int) -> list[Change]:
    """The pod's volumes are asked for before it, once; they outlive it."""
    owner = state.owner
    labels = (owner.spec.selector.match_labels or {}) if owner.spec.selector else {}
    found: list[Change] = []
    for template, (_, name) in zip(owner.spec.volume_claim_templates or [], _claim_names(owner, number), strict=True):
        if name in state.claims:
            continue
        metadata = template.get("metadata") or {}
        body = {
            "apiVersion": CLAIMS.api_version,
            "kind": CLAIMS.kind,
            "metadata": {**metadata, "name": name, "labels": {**(metadata.get("labels") or {}), **labels}},
            "spec": template.get("spec") or {},
        }
        found.append(Create(CLAIMS, owner.namespace, body))
    return found


def _status(state: Stateful) -> list[Change]:
    pods = [pod for number, pod in state.pods.items() if number in state.numbers or not pod.metadata.deletion_timestamp]
    alive = [pod for pod in pods if pods_.is_active(pod)]
    updated = [pod for pod in alive if _revision(pod) == state.update]
    done = len(updated) == len(pods) == _wanted(state.owner) and all(pods_.is_ready(pod) for pod in updated)
    current = state.update if done else state.current
    body: dict[str, Any] = {
        "observedGeneration": state.owner.metadata.generation,
        "replicas": len(pods),
        "readyReplicas": sum(pods_.is_ready(pod) for pod in alive),
        "availableReplicas": sum(state.works(pod) for pod in alive),
        "currentReplicas": sum(_revision(pod) == current for pod in alive),
        "updatedReplicas": len(updated),
        "currentRevision": current,
        "updateRevision": state.update,
    }
    held = msgspec.to_builtins(state.owner.status)
    same = all((held.get(key) or 0) == (value or 0) for key, value in body.items())
    return [] if same else [status(STATEFUL_SETS, state.owner, body)]


def _wait(state: Stateful) -> float | None:
    seconds = state.owner.spec.min_ready_seconds
    waits = (pods_.available_in(pod, seconds, state.now) for pod in state.pods.values())
    return min((wait for wait in waits if wait), default=None)
