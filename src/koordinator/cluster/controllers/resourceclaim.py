"""ResourceClaims: made from templates for pods, freed of pods that are done, and given up with the pod they were made for.

Devices go back when the last pod is done. A claim that has devices carries a finalizer, so that it does not vanish under a pod;
once it is on its way out and nobody uses it any more, the finalizer goes.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from koordinator.api.core import Pod, PodResourceClaim, PodResourceClaimStatus
from koordinator.api.dra import DELETE_PROTECTION, POD_CLAIM_NAME, ConsumerReference, ResourceClaim, ResourceClaimTemplate
from koordinator.api.registry import PODS, RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS
from koordinator.clock import Clock
from koordinator.cluster.controllers.base import OWNER, Base, owned_view, pod_view
from koordinator.cluster.controllers.changes import Change, Create, Outcome, Tell, delete, guarded, guarded_status, status
from koordinator.cluster.controllers.hub import Hub
from koordinator.cluster.controllers.pods import NAME_LIMIT, suffix
from koordinator.kube.errors import ApiError, NotFound
from koordinator.kube.owners import controller_reference
from koordinator.kube.workqueue import WorkQueue

FAILED = "FailedResourceClaimCreation"
_POD, _CLAIM = "pod/", "claim/"
_TEMPLATE, _CONSUMER = "template", "consumer"


def is_done(pod: Pod) -> bool:
    """It uses nothing any more, or never will."""
    return pod.terminated or (pod.metadata.deletion_timestamp is not None and not pod.spec.node_name)


# --- from templates ----------------------------------------------------------------------------------------------------------


def supply(pod: Pod, made: Sequence[ResourceClaim], templates: dict[str, ResourceClaimTemplate]) -> list[Change]:
    """Claims for a pod, and their names in its status. ``made``: claims that it owns; ``templates`` by name."""
    changes: list[Change] = []
    before = {one.name: one.resource_claim_name for one in pod.status.resource_claim_statuses or ()}
    named = dict(before)
    for entry in pod.spec.resource_claims or ():
        if not entry.resource_claim_template_name:
            continue
        name = _existing(pod, entry, made)
        if name is None:
            template = templates.get(entry.resource_claim_template_name)
            if template is None:
                changes.append(_no_template(pod, entry))
                continue
            body = body_of(pod, entry, template, [claim.name for claim in made])
            name = body["metadata"]["name"]
            changes.append(Create(RESOURCE_CLAIMS, pod.namespace, body))
        named[entry.name] = name
    if named != before:
        statuses = [PodResourceClaimStatus(name=entry, resource_claim_name=name) for entry, name in named.items()]
        changes.append(status(PODS, pod, {"resourceClaimStatuses": msgspec.to_builtins(statuses)}))
    return changes


def _existing(pod: Pod, entry: PodResourceClaim, made: Sequence[ResourceClaim]) -> str | None:
    """The claim that an entry has already: by the status or, when that was never written, by the claim's annotation."""
    names = {claim.name for claim in made if not claim.metadata.deletion_timestamp}
    for one in pod.status.resource_claim_statuses or ():
        if one.name == entry.name and one.resource_claim_name in names:
            return one.resource_claim_name
    found = (claim.name for claim in made if claim.annotations.get(POD_CLAIM_NAME) == entry.name and claim.name in names)
    return next(found, None)


def _no_template(pod: Pod, entry: PodResourceClaim) -> Tell:
    missing = f'resourceclaimtemplate.resource.k8s.io "{entry.resource_claim_template_name}" not found'
    why = f"PodResourceClaim {entry.name}: resource claim template: {missing}"
    return Tell(pod, FAILED, why, "Warning")


def body_of(pod: Pod, entry: PodResourceClaim, template: ResourceClaimTemplate, taken: Collection[str]) -> dict[str, Any]:
    """The name is chosen here, so that a repeated create meets its own first attempt."""
    prefix = f"{pod.name}-{entry.name}"[: NAME_LIMIT - 6] + "-"
    names = (prefix + suffix(f"{pod.metadata.uid}/{entry.name}/{number}") for number in range(len(taken) + 1))
    meta = template.spec.metadata
    return {
        "apiVersion": RESOURCE_CLAIMS.api_version,
        "kind": RESOURCE_CLAIMS.kind,
        "metadata": {
            "name": next(name for name in names if name not in taken),
            "namespace": pod.namespace,
            "labels": dict(meta.labels or {}),
            "annotations": {**(meta.annotations or {}), POD_CLAIM_NAME: entry.name},
            "ownerReferences": [controller_reference(PODS, pod)],
        },
        "spec": template.spec.spec,
    }


# --- afterwards --------------------------------------------------------------------------------------------------------------


def settle(claim: ResourceClaim, done: Collection[str]) -> list[Change]:
    """``done``: uids of consumers and owners that use nothing any more."""
    users = claim.status.reserved_for or []
    left = [one for one in users if one.uid not in done]
    leaving = claim.metadata.deletion_timestamp is not None
    changes: list[Change] = []
    if len(left) < len(users) or (leaving and not left and claim.status.allocation is not None):
        body: dict[str, Any] = {"reservedFor": msgspec.to_builtins(left) or None}
        changes.append(guarded_status(RESOURCE_CLAIMS, claim, body if left else {**body, "allocation": None, "devices": None}))
    elif leaving and not left and DELETE_PROTECTION in (claim.metadata.finalizers or ()):
        kept = [one for one in claim.metadata.finalizers or () if one != DELETE_PROTECTION]
        changes.append(guarded(RESOURCE_CLAIMS, claim, {"finalizers": kept}))
    owner = claim.owner
    if owner is not None and owner.kind == "Pod" and owner.uid in done and not left and not leaving:
        changes.append(delete(RESOURCE_CLAIMS, claim))
    return changes


class ResourceClaimController(Base):
    """Keys are ``pod/NAMESPACE/NAME`` and ``claim/NAMESPACE/NAME``."""

    name = "resourceclaim"

    def __init__(self, hub: Hub, clock: Clock) -> None:
        super().__init__(clock)
        self._store = hub.store
        self._pods, self._claims = pod_view(hub), owned_view(hub, RESOURCE_CLAIMS)
        self._templates = hub.view(RESOURCE_CLAIM_TEMPLATES)
        self._pods.add_index(_TEMPLATE, _templates_of)
        self._claims.add_index(_CONSUMER, lambda claim: [one.uid for one in claim.status.reserved_for or ()])

    def wire(self, queue: WorkQueue[str]) -> None:
        self._queue = queue
        self._pods.on(self._pod_changed)
        self._claims.on(self._claim_changed)
        self._templates.on(self._template_changed)

    async def decide(self, key: str) -> Outcome:
        _, _, name = key.partition("/")
        if key.startswith(_POD):
            pod = self._pods.get(name)
            return Outcome(self._supply(pod)) if pod is not None else Outcome()
        claim = self._claims.get(name)
        return Outcome(settle(claim, await self._done(claim))) if claim is not None else Outcome()

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        pod = self._pods.get(key.removeprefix(_POD))
        if pod is None or not isinstance(change, Create):
            return []
        return [Tell(pod, FAILED, f"create ResourceClaim: {error}", "Warning")]

    def _supply(self, pod: Pod) -> list[Change]:
        if is_done(pod) or pod.metadata.deletion_timestamp is not None:
            return []
        templates = {one.name: one for key in _templates_of(pod) if (one := self._templates.get(key)) is not None}
        return supply(pod, self._claims.by_index(OWNER, pod.metadata.uid), templates)

    async def _done(self, claim: ResourceClaim) -> set[str]:
        """Those of a claim's pods that use nothing any more. What the watch has not shown may be younger than it: ask."""
        found = set()
        owner = claim.owner
        refs = [one for one in claim.status.reserved_for or () if one.resource == "pods" and not one.api_group]
        if owner is not None and owner.kind == "Pod":
            refs.append(ConsumerReference(resource="pods", name=owner.name, uid=owner.uid))
        for ref in refs:
            pod = self._pods.get(f"{claim.namespace}/{ref.name}")
            if pod is None or pod.metadata.uid != ref.uid:
                pod = await self._ask(claim.namespace, ref.name)
            if pod is None or pod.metadata.uid != ref.uid or is_done(pod):
                found.add(ref.uid)
        return found

    async def _ask(self, namespace: str, name: str) -> Pod | None:
        try:
            return await self._store.get(PODS, name, namespace)
        except NotFound:
            return None

    # -- events --------------------------------------------------------------------------------------------------------

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        pod = new if new is not None else old
        if pod is None or not pod.spec.resource_claims:
            return
        if new is not None and not is_done(new):
            self._add(_POD + new.key)
            return
        for index in (OWNER, _CONSUMER):
            for claim in self._claims.by_index(index, pod.metadata.uid):
                self._add(_CLAIM + claim.key)

    def _claim_changed(self, old: ResourceClaim | None, new: ResourceClaim | None) -> None:
        if new is not None:
            self._add(_CLAIM + new.key)
        elif old is not None and old.owner is not None and old.owner.kind == "Pod":
            self._add(f"{_POD}{old.namespace}/{old.owner.name}")

    def _template_changed(self, _: ResourceClaimTemplate | None, new: ResourceClaimTemplate | None) -> None:
        if new is not None:
            for pod in self._pods.by_index(_TEMPLATE, new.key):
                self._add(_POD + pod.key)


def _templates_of(pod: Pod) -> Iterable[str]:
    names = [one.resource_claim_template_name for one in pod.spec.resource_claims or ()]
    return [f"{pod.namespace}/{name}" for name in names if name]
