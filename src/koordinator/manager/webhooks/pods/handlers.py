"""The two pod webhooks: decode, run the steps in their order, answer. What of the cluster they need comes through ``View``."""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Protocol

import msgspec

from koordinator.api.core import Pod, PriorityClass
from koordinator.api.meta import LabelSelector
from koordinator.clock import Clock
from koordinator.kube.patches import json_diff
from koordinator.manager.webhooks.admission import ALLOWED, Answer, Request, denied
from koordinator.manager.webhooks.pods.devices import complete_devices
from koordinator.manager.webhooks.pods.extended import write_extended_spec
from koordinator.manager.webhooks.pods.profiles import Compiled, Surroundings, apply_profiles, draw_percent, matching
from koordinator.manager.webhooks.pods.quotatree import add_pool_affinity
from koordinator.manager.webhooks.pods.validate import AFTER_QUOTA, BEFORE_QUOTA, Review, Rule, objection

JsonObject = dict[str, Any]


class View(Protocol):
    """What the pod webhooks read of the cluster."""

    def profiles(self) -> Collection[Compiled]: ...

    async def namespace_labels(self, name: str) -> Mapping[str, str] | None:
        """None when there is no such namespace."""
        ...

    async def priority_class(self, name: str) -> PriorityClass | None: ...

    def pod_rules(self) -> tuple[Rule, ...]:
        """The enhanced validator's rules."""
        ...

    def parent_quota(self, pod: Pod) -> str:
        """The pod's quota if that has quotas below it, else empty."""
        ...

    def pool_selector(self, pod: JsonObject) -> LabelSelector | None:
        """Which nodes the pod's quota tree is over; None when it is in no tree."""
        ...

    async def quota_objection(self, operation: str, pod: Pod, old: Pod | None, *, charge: bool) -> str:
        """Why the pod's quota does not let it in; empty when it does. ``charge`` puts it on the quota's account."""
        ...


class Observe(Protocol):
    """Told of every step: what kind of webhook, in which operation, which step, what came of it, and how long it took."""

    def __call__(self, kind: str, operation: str, plugin: str, *, allowed: bool, seconds: float) -> None: ...


def _unobserved(kind: str, operation: str, plugin: str, *, allowed: bool, seconds: float) -> None:
    """Nobody wants to know."""


class PodWebhooks:
    """``mutate`` and ``validate`` answer one AdmissionReview request each. No state of their own."""

    def __init__(
        self,
        view: View,
        gates: frozenset[str],
        clock: Clock,
        observe: Observe = _unobserved,
        draw: Callable[[], int] = draw_percent,
    ) -> None:
        self._view, self._gates, self._clock, self._observe, self._draw = view, gates, clock, observe, draw

    async def mutate(self, request: Request) -> Answer:
        if not _concerns_pods(request) or request.operation != "CREATE":
            return ALLOWED
        try:
            before, pod = _decode(request), _decode(request)
        except msgspec.DecodeError as err:
            return denied(400, f"pod {request.namespace}/{request.name} cannot be read: {err}")
        borrowed = not pod["metadata"].get("namespace")
        if borrowed:
            pod["metadata"]["namespace"] = request.namespace
        try:
            await self._mutate(pod)
        except ValueError as err:
            return denied(500, str(err))
        if borrowed:
            pod["metadata"].pop("namespace", None)
        return Answer(patch=json_diff(before, pod))

    async def _mutate(self, pod: JsonObject) -> None:
        with self._watched("mutate", "CREATE", "ClusterColocationProfile"):
            await self._apply_profiles(pod)
        if "DisableExtendedResourceSpec" not in self._gates:
            with self._watched("mutate", "CREATE", "ExtendedResourceSpec"):
                write_extended_spec(pod)
        if "MultiQuotaTree" in self._gates:
            with self._watched("mutate", "CREATE", "MultiQuotaTree"):
                add_pool_affinity(pod, self._view.pool_selector(pod))
        if "DisableDeviceResourceSpec" not in self._gates:
            with self._watched("mutate", "CREATE", "DeviceResourceSpec"):
                complete_devices(pod)

    @contextlib.contextmanager
    def _watched(self, kind: str, operation: str, plugin: str) -> Iterator[None]:
        started, allowed = self._clock.monotonic(), False
        try:
            yield
            allowed = True
        finally:
            self._observe(kind, operation, plugin, allowed=allowed, seconds=self._clock.monotonic() - started)

    async def _apply_profiles(self, pod: JsonObject) -> None:
        profiles = self._view.profiles()
        if not profiles:
            return
        metadata = pod["metadata"]
        namespace_labels = await self._view.namespace_labels(metadata["namespace"])
        found = matching(profiles, metadata.get("labels") or {}, namespace_labels)
        if not found:
            return
        wanted = {profile.spec.priority_class_name for profile in found} - {""}
        classes = {name: await self._view.priority_class(name) for name in wanted}
        skip = "ColocationProfileSkipMutatingResources" in self._gates
        apply_profiles(pod, found, Surroundings(classes.get, self._draw, skip))

    async def validate(self, request: Request) -> Answer:
        if not _concerns_pods(request) or (request.operation == "DELETE" and not request.has_old_object):
            return ALLOWED
        try:
            review = self._review(request)
        except msgspec.DecodeError as err:
            return denied(400, f"pod {request.namespace}/{request.name} cannot be read: {err}")
        message = self._ask(BEFORE_QUOTA, review) or await self._ask_quota(request, review) or self._ask(AFTER_QUOTA, review)
        return denied(400, message) if message else ALLOWED

    def _ask(self, steps: Collection[str], review: Review) -> str:
        """The first objection."""
        for step in steps:
            started = self._clock.monotonic()
            message = objection(step, review)
            self._observe("validate", review.operation, step, allowed=not message, seconds=self._clock.monotonic() - started)
            if message:
                return message
        return ""

    async def _ask_quota(self, request: Request, review: Review) -> str:
        """A pod that is refused later on, or is only tried, does not cost its quota anything."""
        if "EnableQuotaAdmission" not in self._gates:
            return ""
        charge = not request.dry_run and not any(objection(step, review) for step in AFTER_QUOTA)
        started = self._clock.monotonic()
        message = await self._view.quota_objection(review.operation, review.pod, review.old, charge=charge)
        seconds = self._clock.monotonic() - started
        self._observe("validate", review.operation, "EvaluateQuota", allowed=not message, seconds=seconds)
        return message

    def _review(self, request: Request) -> Review:
        old = msgspec.json.decode(request.old_object, type=Pod) if request.has_old_object else None
        pod = msgspec.json.decode(request.object, type=Pod) if request.has_object else old
        if pod is None:
            raise msgspec.DecodeError("the request carries no object")
        pod.metadata.namespace = pod.metadata.namespace or request.namespace
        return Review(request.operation, pod, old, self._gates, self._view.pod_rules(), self._view.parent_quota(pod))


def _concerns_pods(request: Request) -> bool:
    return request.concerns("pods")


@functools.cache
def _object_decoder() -> msgspec.json.Decoder[JsonObject]:
    return msgspec.json.Decoder(JsonObject)


def _decode(request: Request) -> JsonObject:
    pod = _object_decoder().decode(request.object)
    if not isinstance(pod.get("metadata"), dict):
        pod["metadata"] = {}
    return pod
