"""The plugin: which nodes have devices for a pod's claims, and giving them to the pod that is placed there.

Columnar: what a node offers depends only on its own devices, so a placed pod moves one row, and pods whose claims ask for the
same share what is known of all others. Devices that several nodes can reach (``allNodes``, ``nodeSelector``) are the exception:
their version is part of what tells pods apart.
"""

import asyncio
import logging
from collections.abc import Coroutine, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from koordinator.api.core import Pod
from koordinator.api.dra import ResourceClaim
from koordinator.scheduler.engine.columns import Bools, Change, Columns, Rows
from koordinator.scheduler.engine.events import ClusterEvent, Happening, Hint
from koordinator.scheduler.engine.framework import (
    SKIP,
    UNRESOLVABLE,
    Code,
    CycleState,
    Diagnosis,
    Endpoint,
    FilterPlugin,
    PostFilterPlugin,
    PreBindPlugin,
    PreEnqueuePlugin,
    PreFilterPlugin,
    PreFilterResult,
    ReservePlugin,
    Status,
    Verdict,
)
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.remedy import Remedy
from koordinator.scheduler.plugins.dynamic_resources import advice
from koordinator.scheduler.plugins.dynamic_resources.asks import Ask, Refused, read, title
from koordinator.scheduler.plugins.dynamic_resources.claims import claims_of, existing, names_of
from koordinator.scheduler.plugins.dynamic_resources.results import allocation
from koordinator.scheduler.plugins.dynamic_resources.search import Patience, Pick, Search
from koordinator.scheduler.plugins.dynamic_resources.stock import DeviceId, Stock
from koordinator.scheduler.plugins.dynamic_resources.writing import ClaimWriter, WriteFailed
from koordinator.scheduler.plugins.selectors import Match, everything, terms

log = logging.getLogger(__name__)

NAME = "DynamicResources"
DISABLED = "DisableDynamicResourceAllocationInformer"
_ELSEWHERE = "resourceclaim not available on the node"
_DECIDED = f"{NAME}/decided"
_MOST_READ = 4096


class _Asked(NamedTuple):
    """What Filter needs: where the claims that have devices can be used, and what the others ask for."""

    where: list[Match]
    asks: list[Ask]
    reasons: list[str]


class _Decided(NamedTuple):
    """Allocations to be written, by the claim's uid; those that were; and claims of which nobody knows."""

    allocations: dict[str, dict[str, Any]]
    written: set[str]
    unsure: dict[str, ResourceClaim]


class DynamicResources(PreEnqueuePlugin, PreFilterPlugin, FilterPlugin, PostFilterPlugin, ReservePlugin, PreBindPlugin):
    name = NAME
    once = like_filter = True
    reads = Change.LABELS | Change.PODS

    def __init__(self, handle: Handle) -> None:
        self._handle, self._columns = handle, handle.cluster.columns
        self._stock = handle.cluster.shared(Stock)
        self._writer = ClaimWriter(handle.store, handle.clock)
        self._asks: dict[Hashable, Ask | Refused] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # -- who is alike --------------------------------------------------------------------------------------------------

    def tells_apart(self, pod: PodInfo) -> bool:
        return bool(pod.pod.spec.resource_claims) or any(map(_is_extended, pod.template.requests))

    def individual(self, pod: PodInfo) -> Hashable:
        """Of claims that have devices, where they can be used; of the others what they ask for."""
        if not pod.pod.spec.resource_claims and not self._stock.extended:
            return None
        try:
            self._check_resources(pod)
            claims = claims_of(pod.pod, self._stock)
        except Refused as why:
            return str(why)
        if not claims:
            return None
        where = tuple(repr(_selector_of(claim)) for claim in claims.allocated)
        return where, tuple(self._form(claim) for claim in claims.waiting), self._stock.wide_version

    def _check_resources(self, pod: PodInfo) -> None:
        """Raises: Refused for a resource that no node has and that a class stands for: its devices must be claimed."""
        for resource, class_ in self._stock.extended.items():
            if resource in pod.template.requests:
                nodes = self._columns
                if not nodes.allocatable[nodes.rows, nodes.resource(resource)].any():
                    why = "this scheduler does not allocate devices for extended resources: claim them"
                    raise Refused(f"device class {class_}: extendedResourceName {resource}: {why}")

    def _form(self, claim: ResourceClaim) -> Hashable:
        """Equal for claims that ask for the same of the same classes."""
        devices = claim.spec.devices
        names = {
            one.device_class_name
            for request in devices.requests or ()
            for one in request.first_available or ([request.exactly] if request.exactly is not None else ())
        }
        classes = ((name, self._stock.classes.get(name)) for name in sorted(names))
        versions = tuple((name, found and (found.metadata.uid, found.metadata.resource_version)) for name, found in classes)
        return msgspec.msgpack.encode(devices), versions

    def _read(self, claim: ResourceClaim) -> Ask:
        """Raises: Refused."""
        key = (self._form(claim), title(claim))
        known = self._asks.get(key)
        if known is None:
            if len(self._asks) >= _MOST_READ:
                self._asks.clear()
            try:
                known = read(claim, self._stock.classes.get)
            except Refused as why:
                known = why
            self._asks[key] = known
        if isinstance(known, Refused):
            raise Refused(str(known))
        return known

    # -- before the queue ----------------------------------------------------------------------------------------------

    def pre_enqueue(self, pod: PodInfo) -> Status | None:
        """Claims from templates are about to be made. Whatever else is wrong is for PreFilter to say, where users see it."""
        if not pod.pod.spec.resource_claims:
            return None
        try:
            list(names_of(pod.pod))
        except Refused as why:
            return _refused(str(why))
        return None

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        nodes = Happening.NODE_ADD | Happening.NODE_LABEL | Happening.NODE_ALLOCATABLE
        given_up = (Happening.POD_DELETE, self._gave_back)
        return (Happening.RESOURCE_CLAIM, self._claim_helps), given_up, (Happening.DEVICES | nodes, None)

    def _gave_back(self, pod: PodInfo, event: ClusterEvent) -> bool:
        """The pod was promised devices and came to nothing: no claim tells of that."""
        return event.old is not None and self._stock.gave_up(event.old.metadata.uid)

    def _claim_helps(self, pod: PodInfo, event: ClusterEvent) -> bool:
        """The claim is the pod's own, or has given devices back."""
        claim = event.new if event.new is not None else event.old
        if not isinstance(claim, ResourceClaim) or self._stock.freed(claim):
            return True
        try:
            return event.new is not None and any(
                one.metadata.uid == claim.metadata.uid for one in existing(pod.pod, self._stock)
            )
        except Refused:
            return False

    # -- filter --------------------------------------------------------------------------------------------------------

    def pre_filter(self, state: CycleState, pod: PodInfo, nodes: Columns) -> PreFilterResult | None:
        if not pod.pod.spec.resource_claims and not self._stock.extended:
            return PreFilterResult(SKIP)
        try:
            self._check_resources(pod)
            claims = claims_of(pod.pod, self._stock)
            asks = [self._read(claim) for claim in claims.waiting]
        except Refused as why:
            return PreFilterResult(_refused(str(why)))
        if not claims:
            return PreFilterResult(SKIP)
        state[NAME] = _Asked([self._match(claim) for claim in claims.allocated], asks, [_ELSEWHERE])
        return None

    def _match(self, claim: ResourceClaim) -> Match:
        selector = _selector_of(claim)
        return everything if selector is None else terms(selector.node_selector_terms, self._columns)

    def filter(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Verdict:
        asked: _Asked = state[NAME]
        fits = nodes.alive[rows].copy()
        for match in asked.where:
            fits &= match(nodes, rows)
        codes = np.where(fits, 0, UNRESOLVABLE | 1)
        if asked.asks:
            places, patience = np.arange(nodes.size)[rows], Patience()
            for index in np.flatnonzero(fits):
                codes[index] = self._judge(asked, int(places[index]), patience)
        return codes

    def _judge(self, asked: _Asked, row: int, patience: Patience) -> int:
        try:
            Search(self._stock, row, asked.asks, patience).run()
        except Refused as why:
            reason = str(why)
            if reason not in asked.reasons:
                asked.reasons.append(reason)
            return UNRESOLVABLE | (1 + asked.reasons.index(reason))
        return 0

    def explain(self, state: CycleState, code: int, nodes: Columns) -> list[str]:
        asked: _Asked = state[NAME]
        return [asked.reasons[(code & ~UNRESOLVABLE) - 1]]

    def remedies(self, state: CycleState, pod: PodInfo, nodes: Columns, row: int) -> list[Remedy]:
        asked: _Asked = state[NAME]
        return advice.remedies(self._stock, row, asked.asks)

    def endpoints(self) -> Mapping[str, Endpoint]:
        return {"node/{name}": lambda name: advice.on_node(self._stock, name)}

    # -- after no node fitted ------------------------------------------------------------------------------------------

    def post_filter(self, state: CycleState, pod: PodInfo, diagnosis: Diagnosis) -> tuple[str | None, Status]:
        """A claim that has devices where the pod cannot go, and that nobody else uses, gives them back."""
        if not pod.pod.spec.resource_claims:
            return None, Status(Code.UNSCHEDULABLE)
        try:
            claims = claims_of(pod.pod, self._stock)
        except Refused:
            return None, Status(Code.UNSCHEDULABLE)
        for claim in claims.allocated:
            others = [one for one in claim.status.reserved_for or () if one.uid != pod.uid]
            if not others and not self._everywhere(claim):
                self._spawn(self._writer.deallocate(claim))
                return None, Status(Code.UNSCHEDULABLE, ("deallocation of ResourceClaim completed",))
        return None, Status(Code.UNSCHEDULABLE, ("still not schedulable",))

    def _everywhere(self, claim: ResourceClaim) -> bool:
        nodes = self._columns
        reached: Bools = self._match(claim)(nodes, nodes.rows)
        return bool((reached | ~nodes.alive[nodes.rows]).all())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- reserve -------------------------------------------------------------------------------------------------------

    def reserve(self, state: CycleState, pod: PodInfo, node: str) -> Status | None:
        """Decide again for this pod's own claims: Filter looked at claims of the same form."""
        if not pod.pod.spec.resource_claims:
            return None
        try:
            found = self._found(pod.pod, node)
        except Refused as why:
            return _refused(str(why))
        decided = state[_DECIDED] = _Decided({}, set(), {})
        for claim, picks in found:
            taken = frozenset[DeviceId](pick.offer.id for pick in picks if not pick.request.admin)
            self._stock.promise(claim.metadata.uid, taken)
            decided.allocations[claim.metadata.uid] = allocation(claim, picks, node)
        return None

    def _found(self, pod: Pod, node: str) -> list[tuple[ResourceClaim, list[Pick]]]:
        """Raises: Refused."""
        claims = claims_of(pod, self._stock)
        asks = [self._read(claim) for claim in claims.waiting]
        picked = Search(self._stock, self._columns.row_of[node], asks).run()
        return list(zip(claims.waiting, picked, strict=True))

    def unreserve(self, state: CycleState, pod: PodInfo, node: str) -> None:
        """A promise that was written is over when the claim is seen with its devices; one that may have been is looked up."""
        decided: _Decided | None = state.pop(_DECIDED, None)
        if decided is None:
            return
        withdrawn = decided.allocations.keys() - decided.written - decided.unsure.keys()
        for uid in withdrawn:
            self._stock.withdraw(uid)
        if withdrawn:
            self._stock.note_given_up(pod.uid)
        for claim in decided.unsure.values():
            self._spawn(self._settle(claim, pod))

    async def _settle(self, claim: ResourceClaim, pod: PodInfo) -> None:
        if not await self._writer.has_devices(claim):
            self._stock.withdraw(claim.metadata.uid)
            self._stock.note_given_up(pod.uid)
            if self._handle.queue is not None:
                self._handle.queue.activate(pod.uid)
                self._handle.queue.on_event(ClusterEvent(Happening.POD_DELETE, old=pod.pod, but=pod.uid))

    # -- pre-bind ------------------------------------------------------------------------------------------------------

    async def pre_bind(self, state: CycleState, pod: PodInfo, node: str) -> Status | None:
        decided: _Decided | None = state.get(_DECIDED)
        if decided is None:
            return SKIP
        try:
            for claim in existing(pod.pod, self._stock):
                if not claim.reserved_by(pod.uid):
                    await self._bind(claim, pod, decided)
        except (Refused, WriteFailed) as why:
            return Status(Code.UNSCHEDULABLE, (str(why),))
        return None

    async def _bind(self, claim: ResourceClaim, pod: PodInfo, decided: _Decided) -> None:
        """Raises: WriteFailed."""
        uid = claim.metadata.uid
        decided.unsure[uid] = claim
        try:
            written = await self._writer.bind(claim, pod, decided.allocations.get(uid))
        except WriteFailed as why:
            if not why.unsure:
                del decided.unsure[uid]
            raise
        del decided.unsure[uid]
        decided.written.add(uid)
        self._stock.note_written(written)


def _is_extended(resource: str) -> bool:
    """Whether a class of devices could stand for the resource."""
    return "/" in resource and "kubernetes.io/" not in resource


def _selector_of(claim: ResourceClaim) -> Any:
    return claim.status.allocation.node_selector if claim.status.allocation is not None else None


def _refused(reason: str) -> Status:
    return Status(Code.UNSCHEDULABLE_AND_UNRESOLVABLE, (reason,))
