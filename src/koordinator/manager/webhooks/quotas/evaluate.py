"""What a pod costs its quota, and whether the quota can pay: plain data in, plain data out. ``admission`` keeps the books.

The quota's annotation ``child-request`` is the account; its ``admission`` annotation, else ``spec.max``, is the limit.
"""

from collections.abc import Mapping

import msgspec

from koordinator.api import quota, resources
from koordinator.api.annotations import Annotation, Malformed
from koordinator.api.core import Pod, Quantities
from koordinator.api.meta import parse_time
from koordinator.api.quantity import Quantity
from koordinator.api.quota import ElasticQuota

Amounts = dict[str, Quantity]

NATIVE = (resources.CPU, resources.MEMORY, resources.EPHEMERAL_STORAGE)
MANAGED = frozenset(
    (
        *NATIVE,
        *(f"requests.{name}" for name in NATIVE),
        resources.BATCH_CPU,
        resources.BATCH_MEMORY,
        resources.MID_CPU,
        resources.MID_MEMORY,
        resources.GPU,
        resources.NVIDIA_GPU,
        resources.GPU_SHARED,
        resources.GPU_MEMORY_RATIO,
    )
)
"""A quota whose max names none of these is not enforced."""


class Account(msgspec.Struct, frozen=True):
    """A quota's books: what was asked so far, and how far it may go."""

    title: str
    max: frozenset[str]
    limit: Amounts
    used: Amounts

    @property
    def enforced(self) -> bool:
        return bool(self.max & MANAGED)

    def charged(self, request: Mapping[str, Quantity]) -> "Account":
        return msgspec.structs.replace(self, used=resources.add(self.used, request))


def account_of(one: ElasticQuota) -> Account:
    """Raises ValueError naming the annotation or amount that cannot be read."""
    limit = _annotated(quota.ADMISSION, one) or one.spec.max or {}
    try:
        used = resources.exact(_annotated(quota.CHILD_REQUEST, one))
        return Account(f"{one.namespace}/{one.name}", frozenset(one.spec.max or ()), resources.exact(limit), used)
    except ValueError as err:
        raise ValueError(f"elastic quota {one.namespace}/{one.name}: {err}") from err


def _annotated(annotation: Annotation[Quantities], one: ElasticQuota) -> Quantities | None:
    found = annotation.read(one.annotations)
    if isinstance(found, Malformed):
        raise ValueError(f"metadata.annotations: {found}")  # noqa: TRY004 — data, not a bug
    return found


def charge_of(pod: Pod, account: Account, now: float) -> Amounts:
    """What the pod asks of the account: what ``max`` names and is not zero. Raises ValueError on a bad quantity."""
    if not account.enforced or _over(pod, now):
        return {}
    asked = resources.mask(resources.pod_requests(pod), account.max)
    return {name: resources.as_quantity(name, number) for name, number in asked.items() if number}


def _over(pod: Pod, now: float) -> bool:
    """Whether the pod takes nothing any more: finished, or terminating longer than its grace period."""
    if pod.status.phase in ("Failed", "Succeeded"):
        return True
    deleted = parse_time(pod.metadata.deletion_timestamp)
    return deleted is not None and now > deleted + (pod.metadata.deletion_grace_period_seconds or 0)


def excess(account: Account, request: Mapping[str, Quantity]) -> str:
    """The refusal where the request takes the account beyond its limit; empty where it fits. What is not named has no limit."""
    used = resources.mask(account.used, request)
    total = resources.add(used, request)
    over = sorted(name for name, amount in total.items() if name in account.limit and amount > account.limit[name])
    if not over:
        return ""
    sides = (("requested", request), ("used", used), ("limited", account.limit))
    return f"exceeded quota: {account.title}, " + ", ".join(f"{label}: {_shown(side, over)}" for label, side in sides)


def _shown(amounts: Mapping[str, Quantity], names: list[str]) -> str:
    return ",".join(f"{name}={amounts[name]}" for name in names if name in amounts)
