"""What devices there are, where they can be reached, and which claim has which.

Drivers publish devices in slices; slices of one driver and pool name make a pool, of which only the newest generation counts,
and only when all its slices are there. A device is in use from the moment that the scheduler promises it to a claim until the
API server says that the claim has it no more.

Guarantees: a device is never offered to two claims, whatever the order of promises, withdrawals and events; a node's row in the
columns is touched when what it offers has changed. Devices that several nodes can reach have a version instead of rows.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

from koordinator.api import quantity
from koordinator.api.core import NodeSelector
from koordinator.api.dra import Allocation, Device, DeviceClass, ResourceClaim, ResourceSlice
from koordinator.api.registry import DEVICE_CLASSES, RESOURCE_CLAIMS, RESOURCE_SLICES
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Change, Columns
from koordinator.scheduler.engine.events import Happening
from koordinator.scheduler.engine.objects import Objects
from koordinator.scheduler.engine.versions import reached
from koordinator.scheduler.plugins.selectors import Match, everything, nothing, terms

T = TypeVar("T")
_REMEMBERED = 4096
Counters = dict[tuple[str, str], int]
"""Nano-units by counter set and counter."""


class PoolId(NamedTuple):
    driver: str
    pool: str

    def __str__(self) -> str:
        return f"{self.driver}/{self.pool}"


class DeviceId(NamedTuple):
    driver: str
    pool: str
    device: str

    def __str__(self) -> str:
        return f"{self.driver}/{self.pool}/{self.device}"


def _nano(value: object, field: str) -> int:
    """Raises: ValueError naming the field."""
    try:
        return quantity.parse(str(value)).nano
    except ValueError as err:
        raise ValueError(f"{field} is {value!r}: {err}") from None


class Offer:
    """One device of a pool. ``node`` is the only node that reaches it; empty when its selector says which do."""

    __slots__ = ("_where", "consumes", "device", "id", "node", "notes", "pool", "selector")

    def __init__(self, pool: PoolId, device: Device, slice_: ResourceSlice) -> None:
        self.id = DeviceId(*pool, device.name)
        self.pool, self.device = pool, device
        source = device if slice_.spec.per_device_node_selection else slice_.spec
        self.node = source.node_name or ""
        self.selector: NodeSelector | None = None if self.node or source.all_nodes else source.node_selector
        self._where: Match | None = everything if source.all_nodes else None
        self.consumes: Counters = {
            (one.counter_set, name): _nano(counter.value, f"device {device.name}: consumesCounters {one.counter_set}.{name}")
            for one in device.consumes_counters or ()
            for name, counter in one.counters.items()
        }
        self.notes: dict[tuple[str, ...], bool] = {}
        """Whether all these selectors match it."""

    def reaches(self, nodes: Columns, row: int) -> bool:
        if self.node:
            return nodes.names[row] == self.node
        if self._where is None:
            self._where = nothing if self.selector is None else terms(self.selector.node_selector_terms, nodes)
        return bool(self._where(nodes, slice(row, row + 1))[0])


class Pool:
    """The slices of one pool, and what their newest generation offers."""

    def __init__(self, id_: PoolId) -> None:
        self.id = id_
        self.slices: dict[str, ResourceSlice] = {}
        self.by_node: dict[str, list[Offer]] = {}
        self.wide: list[Offer] = []
        self.offers: dict[str, Offer] = {}
        self.counters: Counters = {}
        self.incomplete = False
        self.invalid = ""

    def settle(self) -> None:
        """Read the slices again. Raises: ValueError when a counter cannot be read; then all stays as it was."""
        newest = max((one.spec.pool.generation for one in self.slices.values()), default=0)
        current = [one for _, one in sorted(self.slices.items()) if one.spec.pool.generation == newest]
        counters = {
            (set_.name, name): _nano(counter.value, f"spec.sharedCounters {set_.name}.{name}")
            for one in current
            for set_ in one.spec.shared_counters or ()
            for name, counter in set_.counters.items()
        }
        offers = [Offer(self.id, device, one) for one in current for device in one.spec.devices or ()]
        self.counters = counters
        self.incomplete = any(one.spec.pool.resource_slice_count != len(current) for one in current)
        self._offer(offers)
        for one in current:  # a slice without devices still says where its pool is
            if one.spec.node_name:
                self.by_node.setdefault(one.spec.node_name, [])

    def _offer(self, offers: list[Offer]) -> None:
        self.by_node, self.wide, self.offers, self.invalid = {}, [], {}, ""
        for offer in offers:
            if offer.id.device in self.offers:
                self.invalid = f"duplicate device name {offer.id.device}"
            self.offers[offer.id.device] = offer
            (self.by_node.setdefault(offer.node, []) if offer.node else self.wide).append(offer)

    @property
    def usable(self) -> bool:
        return not self.incomplete and not self.invalid


class Stock:
    """Kept once, whatever the profiles."""

    def __init__(self, cluster: Cluster) -> None:
        self.columns = cluster.columns
        objects = cluster.shared(Objects)
        self.claims = objects.of(RESOURCE_CLAIMS, Happening.RESOURCE_CLAIM)
        self.classes = objects.of(DEVICE_CLASSES, Happening.DEVICES)
        self.slices = objects.of(RESOURCE_SLICES, Happening.DEVICES)
        self.claims.hearing.append(self._claim_heard)
        self.slices.hearing.append(self._slice_heard)
        self.classes.hearing.append(self._class_heard)
        self.extended: dict[str, str] = {}
        """Extended resources that a class of devices stands for (``extendedResourceName``), to the class."""
        self.pools: dict[PoolId, Pool] = {}
        self.local: dict[str, dict[PoolId, Pool]] = {}
        self.wide: dict[PoolId, Pool] = {}
        self.wide_version = 0
        """Moves with every change of devices that several nodes can reach, or of their use."""
        self.users: dict[DeviceId, set[str]] = {}
        """Claims (by uid) that have a device, as the API server says or as promised."""
        self.promised: dict[str, frozenset[DeviceId]] = {}
        """By claim (uid), until the API server says what the claim has."""
        self._had: dict[str, frozenset[DeviceId]] = {}
        self._using: dict[str, frozenset[DeviceId]] = {}
        self._pool_of: dict[str, PoolId] = {}
        self._written: dict[str, str] = {}
        """By claim (uid) whose promise was written: the version that has it."""
        self._freed: dict[tuple[str, str], None] = {}
        """Changes of claims that gave devices back: uid and version, the last ones."""
        self._given_up: dict[str, None] = {}
        """Pods (by uid) whose promises came to nothing, the last ones."""

    # -- slices --------------------------------------------------------------------------------------------------------

    def _slice_heard(self, slice_: ResourceSlice, there: bool) -> None:
        before = self._pool_of.pop(slice_.name, None)
        if before is not None:
            self.pools[before].slices.pop(slice_.name, None)
        after = PoolId(slice_.spec.driver, slice_.spec.pool.name) if there else None
        if after is not None:
            self._pool_of[slice_.name] = after
            self.pools.setdefault(after, Pool(after)).slices[slice_.name] = slice_
        for id_ in {id_ for id_ in (before, after) if id_ is not None}:
            self._settle(self.pools[id_])

    def _settle(self, pool: Pool) -> None:
        was_wide, before = bool(pool.wide), set(pool.by_node)
        try:
            pool.settle()
        finally:
            self._place(pool, before)
            if was_wide or pool.wide:
                self.wide_version += 1

    def _place(self, pool: Pool, before: set[str]) -> None:
        for node in before - pool.by_node.keys():
            self.local[node].pop(pool.id, None)
        for node in pool.by_node:
            self.local.setdefault(node, {})[pool.id] = pool
        self._touch(before | pool.by_node.keys())
        if pool.wide:
            self.wide[pool.id] = pool
        else:
            self.wide.pop(pool.id, None)
        if not pool.slices:
            del self.pools[pool.id]

    def _touch(self, nodes: Iterable[str]) -> None:
        for node in nodes:
            if (row := self.columns.row_of.get(node)) is not None:
                self.columns.touch(row, Change.PODS)

    def pools_at(self, row: int) -> list[Pool]:
        """The pools with devices that a node can reach, in a fixed order; its own first."""
        own = self.local.get(self.columns.names[row])
        found = [own[id_] for id_ in sorted(own)] if own else []
        return found + [self.wide[id_] for id_ in sorted(self.wide) if own is None or id_ not in own]

    def offers_at(self, row: int, pools: Iterable[Pool]) -> Iterator[Offer]:
        name = self.columns.names[row]
        for pool in pools:
            yield from pool.by_node.get(name, ())
            for offer in pool.wide:
                if offer.reaches(self.columns, row):
                    yield offer

    def offer_of(self, id_: DeviceId) -> Offer | None:
        pool = self.pools.get(PoolId(id_.driver, id_.pool))
        return None if pool is None else pool.offers.get(id_.device)

    def room(self, id_: PoolId) -> Counters:
        """What is left of a pool's counters."""
        pool = self.pools[id_]
        left = dict(pool.counters)
        for name, offer in pool.offers.items():
            if offer.consumes and self.users.get(DeviceId(*id_, name)):
                for counter, amount in offer.consumes.items():
                    left[counter] = left.get(counter, 0) - amount
        return left

    # -- classes -------------------------------------------------------------------------------------------------------

    def _class_heard(self, class_: DeviceClass, there: bool) -> None:
        self.extended = {resource: name for resource, name in self.extended.items() if name != class_.name}
        if there and class_.spec.extended_resource_name:
            self.extended[class_.spec.extended_resource_name] = class_.name

    # -- claims --------------------------------------------------------------------------------------------------------

    def _claim_heard(self, claim: ResourceClaim, there: bool) -> None:
        """The API server's word. A promise is over once the claim has devices, or had them and has them no more, or is gone."""
        uid, allocation = claim.metadata.uid, claim.status.allocation
        devices = devices_of(allocation) if there else frozenset()
        before = self._had.get(uid, frozenset())
        if devices:
            self._had[uid] = devices
        else:
            self._had.pop(uid, None)
        promise = frozenset[DeviceId]()
        if not there or allocation is not None or self._outlived(claim):
            self._written.pop(uid, None)
            promise = self.promised.pop(uid, promise)
        self._use(uid)
        if (before | promise) - devices:
            _remember(self._freed, (uid, claim.metadata.resource_version))

    def _outlived(self, claim: ResourceClaim) -> bool:
        """Whether the claim is younger than the version with what was promised: the watch missed that one."""
        written = self._written.get(claim.metadata.uid)
        return written is not None and reached(claim.metadata.resource_version, written)

    def _use(self, uid: str) -> None:
        """Bring ``users`` up to date for a claim."""
        wanted = self._had.get(uid, frozenset())
        if (promise := self.promised.get(uid)) is not None:
            wanted |= promise
        before = self._using.get(uid, frozenset())
        if wanted == before:
            return
        if wanted:
            self._using[uid] = wanted
        else:
            self._using.pop(uid, None)
        for device in before - wanted:
            users = self.users[device]
            users.discard(uid)
            if not users:
                del self.users[device]
        for device in wanted - before:
            self.users.setdefault(device, set()).add(uid)
        self._moved(before ^ wanted)

    def _moved(self, devices: Iterable[DeviceId]) -> None:
        nodes, wide = set[str](), False
        for id_ in devices:
            pool = self.pools.get(PoolId(id_.driver, id_.pool))
            offer = pool.offers.get(id_.device) if pool is not None else None
            if offer is None:
                continue
            if offer.node:
                nodes.add(offer.node)
            else:
                wide = True
            if pool is not None and offer.consumes:  # others of the pool may have room now, or none any more
                nodes |= pool.by_node.keys()
                wide |= bool(pool.wide)
        self._touch(nodes)
        self.wide_version += wide

    def promise(self, claim: str, devices: frozenset[DeviceId]) -> None:
        """These devices are for this claim (uid), though the API server does not know yet."""
        self.promised[claim] = devices
        self._use(claim)

    def withdraw(self, claim: str) -> None:
        """Take back what was promised to a claim."""
        self._written.pop(claim, None)
        if self.promised.pop(claim, None) is not None:
            self._use(claim)

    def note_written(self, claim: ResourceClaim) -> None:
        """The API server has taken what was promised, in this version of the claim; the watch will show it."""
        if claim.metadata.uid in self.promised:
            self._written[claim.metadata.uid] = claim.metadata.resource_version

    def note_given_up(self, pod: str) -> None:
        """What was promised to a pod (uid) is free again."""
        _remember(self._given_up, pod)

    def gave_up(self, pod: str) -> bool:
        return pod in self._given_up

    def freed(self, claim: ResourceClaim) -> bool:
        """Whether a change of a claim gave devices back."""
        return (claim.metadata.uid, claim.metadata.resource_version) in self._freed


def _remember(last: dict[T, None], one: T) -> None:
    last[one] = None
    if len(last) > _REMEMBERED:
        del last[next(iter(last))]


def devices_of(allocation: Allocation | None) -> frozenset[DeviceId]:
    """The devices that an allocation takes away from others: those with admin access are only looked at."""
    results = (allocation.devices.results if allocation is not None else None) or ()
    return frozenset(DeviceId(one.driver, one.pool, one.device) for one in results if not one.admin_access)
