"""Profiles for pods that were there first: pending pods without a node get labels, annotations and patch of matching profiles.

Off unless the gate ``ColocationProfileController`` is on, and then only for profiles that ask for it with a label.
What only counts at creation (scheduler, priority class, resources) is not touched. Writes are slow on purpose: a token bucket
keeps a new profile from rewriting a whole queue at once.
"""

import copy
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from koordinator.api import selectors
from koordinator.api.config import ClusterColocationProfile
from koordinator.api.meta import Object
from koordinator.api.podqos import CONTROLLER_MANAGED
from koordinator.api.registry import PODS, Resource
from koordinator.clock import Clock
from koordinator.kube.errors import ApiError, NotFound
from koordinator.kube.patches import merge_diff
from koordinator.kube.store import Store
from koordinator.kube.workqueue import WorkQueue
from koordinator.manager.controllers.complaints import Tell
from koordinator.manager.seen import SeenPod
from koordinator.manager.webhooks.pods.profiles import apply_to_existing, draw_percent, skipped

log = logging.getLogger(__name__)

JsonObject = dict[str, Any]


class WholePod(Object):
    """A pod with everything that its spec says: a patch of lists needs all of them."""

    spec: JsonObject = msgspec.field(default_factory=dict)


WHOLE_PODS = Resource(PODS.group, PODS.version, PODS.plural, PODS.kind, type=WholePod)


class ProfileSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, and pods per second. ``by_default``: profiles without the label are reconciled, too."""

    by_default: bool = False
    interval: float = 30.0
    again_after: float = 300.0
    """A pod is not looked at again for the same profile version before this."""
    forget_every: float = 600.0
    """What is remembered about pods is cleared out so often."""
    qps: float = 10.0
    burst: int = 100


class Bucket:
    """Tokens that grow back with time; whoever finds none goes without."""

    def __init__(self, clock: Clock, qps: float, burst: int) -> None:
        self._clock, self._qps, self._burst = clock, qps, float(burst)
        self._tokens, self._at = float(burst), clock.monotonic()

    def take(self) -> bool:
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._qps)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Seen(msgspec.Struct, frozen=True):
    """What the controller reads of the cluster, from informers' caches."""

    profile: Callable[[str], ClusterColocationProfile | None]
    waiting: Callable[[], Iterable[SeenPod]]
    """Pods without a node."""
    namespace_labels: Callable[[str], Mapping[str, str] | None]


def matches(profile: ClusterColocationProfile, pod: SeenPod, namespace_labels: Mapping[str, str] | None) -> bool:
    """Whether the profile is for this pod. No pod selector is for none here. Raises ValueError on a broken selector."""
    spec = profile.spec
    if spec.selector is None or pod.share.node or not pod.share.pending:
        return False
    if not selectors.is_empty(spec.namespace_selector) and (
        namespace_labels is None or not selectors.compile_(spec.namespace_selector).matches(namespace_labels)
    ):
        return False
    return selectors.is_empty(spec.selector) or selectors.compile_(spec.selector).matches(pod.labels)


class ProfileController:
    """Feed it with ``changed``, and let ``run`` work."""

    def __init__(self, store: Store, clock: Clock, seen: Seen, settings: ProfileSettings, tell: Tell) -> None:
        self._store, self._clock, self._seen, self._settings, self._tell = store, clock, seen, settings, tell
        self._bucket = Bucket(clock, settings.qps, settings.burst)
        self._done: dict[tuple[str, str], float] = {}
        self._swept = clock.monotonic()
        self._draw = draw_percent
        self.queue: WorkQueue[str] = WorkQueue("colocationprofile", clock)

    def changed(self, profile: ClusterColocationProfile) -> None:
        self.queue.add(profile.name)

    async def run(self) -> None:
        await self.queue.run(self._reconcile)

    async def _reconcile(self, name: str) -> float | None:
        """Returns seconds until the next look."""
        profile = self._seen.profile(name)
        if profile is None or not (self._settings.by_default or CONTROLLER_MANAGED.read(profile.labels)):
            return None
        self._sweep()
        try:
            chosen = [pod for pod in self._seen.waiting() if self._wants(profile, pod)]
            for pod in chosen:
                await self._update(profile, pod)
        except ValueError as err:
            self._tell(profile, "InvalidClusterColocationProfile", str(err))
        return self._settings.interval

    def _wants(self, profile: ClusterColocationProfile, pod: SeenPod) -> bool:
        return matches(profile, pod, self._seen.namespace_labels(pod.namespace)) and not skipped(profile, self._draw)

    async def _update(self, profile: ClusterColocationProfile, pod: SeenPod) -> None:
        key = (profile.metadata.resource_version, pod.metadata.uid)
        if self._done.get(key, 0.0) > self._clock.monotonic() or not self._bucket.take():
            return
        try:
            whole = await self._store.get(WHOLE_PODS, pod.name, pod.namespace)
            if patch := patch_for(profile, whole):
                await self._store.patch(PODS, pod.name, patch, pod.namespace)
        except NotFound:  # deleted meanwhile
            return
        except ApiError as err:
            log.warning("pod %s: ClusterColocationProfile %s not applied: %s", pod.key, profile.name, err)
            return
        self._done[key] = self._clock.monotonic() + self._settings.again_after

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        if now - self._swept < self._settings.forget_every:
            return
        self._swept = now
        self._done = {key: until for key, until in self._done.items() if until > now}


def patch_for(profile: ClusterColocationProfile, pod: WholePod) -> JsonObject:
    """The merge patch that applies the profile; empty when the pod says all of it already. Raises ValueError."""
    before: JsonObject = msgspec.to_builtins(pod)
    after = copy.deepcopy(before)
    apply_to_existing(after, profile)
    return merge_diff(before, after)
