"""What a quota must keep to: by itself, and in the tree. Texts are the protocol's, its spelling mistakes included."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from koordinator.api import keys, quantity, quota, resources
from koordinator.api.annotations import Malformed
from koordinator.api.quota import DEFAULT, ROOT, SYSTEM, ElasticQuota
from koordinator.manager.webhooks.quotas.topology import Amounts, Denied, Info, Topology, info_of


class Pods(Protocol):
    """What the rules ask about pods."""

    def labelled(self, quota_name: str) -> list[str]:
        """Names of the pods that name the quota."""
        ...

    def any_in(self, namespaces: Iterable[str]) -> bool: ...


class Rules:
    """Judges requests against a topology and records what it accepts. Every refusal is a ``Denied``."""

    def __init__(self, topology: Topology, pods: Pods, gates: frozenset[str]) -> None:
        self._topology, self._pods, self._gates = topology, pods, gates

    def create(self, one: ElasticQuota) -> None:
        name, known = one.name, self._topology
        if name in known.infos:
            raise Denied(f"AddQuota quota already exist:{name}")
        info = info_of(one)
        for namespace in info.namespaces:
            if owner := known.bound.get(namespace):
                raise Denied(f"AddQuota quota {name}'s annotation namespace {namespace} is already bound to quota {owner}")
        check_itself(one, info)
        if name != ROOT:
            self._check_tree(info, None)
        known.record(info)

    def update(self, one: ElasticQuota, old: ElasticQuota) -> None:
        if _what_counts(one) == _what_counts(old):
            return
        name, known = one.name, self._topology
        if name in (SYSTEM, ROOT):
            raise Denied(f"invalid quota {name}")
        info = info_of(one)
        for namespace in info.namespaces:
            if (owner := known.bound.get(namespace, name)) != name:
                raise Denied(
                    f"UpdadteQuota, quota {name} update namespaces, but namespace {namespace} is already bound to quota {owner}"
                )
        before = known.infos.get(name)
        if before is None:
            raise Denied(f"UpdateQuota quota not exist in quotaInfoMap:{name}")
        check_itself(one, info)
        self._check_tree(info, before)
        known.record(info)

    def delete(self, name: str) -> None:
        if name in (ROOT, SYSTEM, DEFAULT):
            raise Denied(f"can not delete quotaGroup :{name}")
        if name not in self._topology.infos:
            raise Denied(f"not found quota:{name}")
        if children := self._topology.children(name):
            raise Denied(f"delete quota failed, quota {name} has {len(children)} child quotas")
        if pods := self._pods.labelled(name):
            shown = ", ".join(pods[:2] + ["..."] * (len(pods) > 2))
            raise Denied(f"delete quota failed, quota {name} has {len(pods)} child pods: {shown}")
        self._topology.drop(name)

    # --- the tree ----------------------------------------------------------------------------------------------------------

    def _check_tree(self, info: Info, before: Info | None) -> None:
        children = self._topology.children(info.name)
        if before is not None:
            self._check_is_parent(info, before, children)
        self._check_tree_id(info, before, children)
        if info.parent == ROOT and not info.is_parent:
            return
        parent = self._parent(info)
        self._check_keys(info, parent, children)
        if not (info.force or info.is_root):
            self._check_min_sums(info, parent, children)
        if "ElasticQuotaGuaranteeUsage" in self._gates and info.tree_id and not (info.force or info.is_root):
            self._check_guarantee(info)

    def _check_is_parent(self, info: Info, before: Info, children: list[Info]) -> None:
        if before.is_parent and not info.is_parent and children:
            raise Denied(f"quota has children, isParent is forbidden to modify as false, quotaName:{info.name}")
        if info.is_parent and not before.is_parent:
            namespaces = (info.name, *before.namespaces)
            if self._pods.labelled(info.name) or self._pods.any_in(namespaces):
                raise Denied(f"quota has bound pods, isParent is forbidden to modify as true, quotaName: {info.name}")

    def _check_tree_id(self, info: Info, before: Info | None, children: list[Info]) -> None:
        name, own = info.name, info.tree_id
        if before is not None and before.tree_id != own:
            raise Denied(f"{name} tree id changed [{before.tree_id}] vs [{own}]")
        parent = self._topology.infos.get(info.parent) if info.parent != ROOT else None
        if parent is not None and parent.tree_id != own:
            raise Denied(f"{name} tree id is different from parent {parent.name}, [{own}] vs [{parent.tree_id}]")
        for child in children:
            if child.tree_id != own:
                raise Denied(f"{name} tree id is different from child {child.name}, [{own}] vs [{child.tree_id}]")

    def _parent(self, info: Info) -> Info | None:
        """None for the root of all."""
        if info.parent == ROOT:
            return None
        parent = self._topology.infos.get(info.parent)
        if parent is None:
            raise Denied(f"{info.name} has parentName {info.parent} but not find parentInfo in quotaInfoMap")
        if not parent.is_parent:
            raise Denied(f"{info.name} has parentName {info.parent} but the parentQuotaInfo's IsParent is false")
        return parent

    def _check_keys(self, info: Info, parent: Info | None, children: list[Info]) -> None:
        pairs = [(parent, info)] if parent else []
        pairs += [(info, child) for child in children]
        for above, below in pairs:
            if problem := self._key_problem(above, below, info):
                prefix = "failed to check sub and parent group quotaKey, err: checkSubAndParentGroupQuotaKey failed: "
                raise Denied(prefix + problem)

    def _key_problem(self, above: Info, below: Info, own: Info) -> str:
        if "ElasticQuotaEnableUpdateResourceKey" in self._gates:
            if not below.max.keys() <= above.max.keys():
                return f"{below.name}'s max keys are not all included in {above.name}'s"
        elif below.max.keys() != above.max.keys():
            other = below if above is own else above
            return f"{other.name}'s max keys are not the same with {own.name}'s"
        if not below.min.keys() <= above.min.keys():
            return f"{below.name}'s min keys are not all included in {above.name}'s"
        return ""

    def _check_min_sums(self, info: Info, parent: Info | None, children: list[Info]) -> None:
        if parent is not None:
            brothers = [one.min for one in self._topology.children(parent.name) if one.name != info.name]
            if not fits(total([*brothers, info.min]), parent.min):
                raise Denied(f"checkMinQuotaSum all brothers' MinQuota > parent MinQuota, parent: {parent.name}")
        if not fits(total(child.min for child in children), info.min):
            raise Denied(f"checkMinQuotaSum all children's MinQuota > current MinQuota, current: {info.name}")

    def _check_guarantee(self, info: Info) -> None:
        """Whether the tree can still guarantee the quota's min: climb until a quota's own guarantee covers it."""
        if fits(info.min, info.guaranteed):
            return
        current, guaranteed = info, resources.maximum(info.min, info.guaranteed)
        while True:
            parent = self._topology.infos.get(current.parent)
            if current.parent == ROOT or parent is None:
                raise Denied(f"tree root quota {current.name} can't guarantee for min {info.name}")
            others = [one.guaranteed for one in self._topology.children(parent.name) if one.name != current.name]
            needed = resources.maximum(parent.min, total([*others, guaranteed]))
            if fits(needed, parent.guaranteed):
                return
            current, guaranteed = parent, needed


def _what_counts(one: ElasticQuota) -> object:
    """A change of anything else needs no check."""
    labels = [one.labels.get(key) for key in (keys.QUOTA_PARENT, keys.QUOTA_IS_PARENT, keys.QUOTA_TREE_ID)]
    return one.spec, labels, one.annotations.get(keys.QUOTA_NAMESPACES)


def total(lists: Iterable[Amounts]) -> Amounts:
    result: Amounts = {}
    for amounts in lists:
        result = resources.add(result, amounts)
    return result


def fits(amounts: Amounts, limit: Mapping[str, quantity.Quantity]) -> bool:
    """Whether nothing exceeds ``limit``; what the limit does not name is limited to nothing."""
    return all(amount <= limit.get(name, quantity.ZERO) for name, amount in amounts.items())


# --- a quota by itself -------------------------------------------------------------------------------------------------------


def check_itself(one: ElasticQuota, info: Info) -> None:
    """Raises Denied."""
    for check in _CHECKS:
        check(one, info)


def _signs(one: ElasticQuota, info: Info) -> None:
    for field, amounts in (("Max", info.max), ("Min", info.min)):
        if names := _negative(amounts):
            raise Denied(f"{one.name} quota.Spec.{field}'s value < 0, in dimensions :[{names}]")
    weight = quota.SHARED_WEIGHT.read(one.annotations)
    where = f"{one.name} quota.Annotation[{keys.QUOTA_SHARED_WEIGHT}]'s value"
    if isinstance(weight, Malformed):
        raise Denied(f"{where} is invalid: {weight.reason}")
    if names := _negative(resources.exact(weight or {})):
        raise Denied(f"{where} < 0, in dimension :[{names}]")


def _negative(amounts: Amounts) -> str:
    return " ".join(sorted(name for name, amount in amounts.items() if amount < quantity.ZERO))


def _min_within_max(one: ElasticQuota, info: Info) -> None:
    for name, lower in info.min.items():
        upper = info.max.get(name)
        if upper is None:
            raise Denied(f"resourceKey {name} of quota {one.name} is included in min, which is not included in max")
        if upper < lower:
            raise Denied(f"resourceKey {name} of quota {one.name} min {lower} > max {upper}")


def _max_covers_used(one: ElasticQuota, info: Info) -> None:
    strict = quota.MAX_STRICT_CHECK_RESOURCE_KEYS.read(one.annotations)
    if isinstance(strict, Malformed):
        where = f"{one.name} quota.Annotation[{keys.QUOTA_MAX_STRICT_CHECK_RESOURCE_KEYS}]'s value"
        raise Denied(f"{where} is invalid: {strict.reason}")
    all_used = resources.exact(one.status.used)
    for name in strict or ():
        used, upper = all_used.get(name), info.max.get(name)
        if used is None:
            continue
        if upper is None:
            raise Denied(
                f"resourceKey {name} of quota {one.name} is included in used, which is not included in max"
                " but should check max >= used"
            )
        if upper < used:
            raise Denied(f"resourceKey {name} of quota {one.name} max {upper} < used {used}")


_CHECKS: tuple[Callable[[ElasticQuota, Info], None], ...] = (_signs, _min_within_max, _max_covers_used)
