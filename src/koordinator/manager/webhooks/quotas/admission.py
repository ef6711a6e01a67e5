"""Quota admission: pods are let in as long as their quota's account covers them (gate ``EnableQuotaAdmission``).

Guarantees: what is accepted is on the account before the answer leaves; all questions about one quota are answered in order,
in batches with one write each; two replicas never both spend the last of an account, because writes carry the version read.
A question that is a dry run, or that a later rule refuses anyway, is answered and not charged.
"""

import asyncio
import math
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from koordinator.api import keys, quota, resources
from koordinator.api.core import Pod
from koordinator.api.quota import ElasticQuota
from koordinator.api.registry import ELASTIC_QUOTAS
from koordinator.api.transform import with_own_names
from koordinator.clock import Clock
from koordinator.kube.errors import ApiError, Conflict
from koordinator.kube.store import Store
from koordinator.manager.webhooks.quotas.evaluate import Account, Amounts, account_of, charge_of, excess

WORKERS = 16
WAIT_SECONDS = 10.0
REMEMBERED = 100
LEAST_TRIES = 3
TIMED_OUT = "Internal error occurred: elastic quota evaluation timed out"
EXEMPT = frozenset(("", quota.ROOT, quota.SYSTEM, quota.DEFAULT))


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """How conflicts over one account are met: tries, and seconds of pause in all."""

    most: int = LEAST_TRIES
    jitter: float = 0.0
    most_jitter: float = 1.0
    fresh_get: bool = False


DEFAULT_RETRIES = Retries()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The feature gates of quota admission, read once."""

    enabled: bool = False
    on_update: bool = False
    transform: bool = False
    ignore_overhead: bool = False

    @classmethod
    def of(cls, gates: frozenset[str]) -> "Settings":
        return cls(
            enabled="EnableQuotaAdmission" in gates,
            on_update="EnableQuotaAdmissionOnUpdate" in gates,
            transform={"ElasticQuotaEvaluationTransformPod", "ReplaceResourcesTransformer"} <= gates,
            ignore_overhead="ElasticQuotaIgnorePodOverhead" in gates,
        )


class _Waiter(msgspec.Struct, eq=False):
    pod: Pod
    charge: bool
    answer: asyncio.Future[str]


class QuotaAdmission:
    """``objection`` says why a pod may not come in; empty when it may.

    Args: ``named`` finds quotas by name in all namespaces, ``quota_of`` says a pod's quota.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        named: Callable[[str], Sequence[ElasticQuota]],
        quota_of: Callable[[Pod], str],
        settings: Settings,
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        self._store, self._clock, self._named, self._quota_of = store, clock, named, quota_of
        self._settings, self._retries = settings, retries
        self._waiting: dict[str, list[_Waiter]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(WORKERS)
        self._written: OrderedDict[str, ElasticQuota] = OrderedDict()

    async def objection(self, operation: str, pod: Pod, old: Pod | None, *, charge: bool = True) -> str:
        name = self._concerned(operation, pod, old)
        if not name:
            return ""
        found = self._named(name)
        if len(found) != 1:
            return f"more than one elastic quota {name} found" if found else f"elastic quota {name} not found"
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._join(found[0].key, _Waiter(self._counted(pod), charge, answer))
        try:
            return await asyncio.wait_for(answer, WAIT_SECONDS)
        except TimeoutError:
            return TIMED_OUT

    def _concerned(self, operation: str, pod: Pod, old: Pod | None) -> str:
        """The quota to ask; empty when none."""
        settings = self._settings
        if not settings.enabled or operation not in ("CREATE", "UPDATE"):
            return ""
        name = self._quota_of(pod)
        if operation == "UPDATE" and (not settings.on_update or old is None or self._quota_of(old) == name):
            return ""
        return "" if name in EXEMPT else name

    def _counted(self, pod: Pod) -> Pod:
        if self._settings.transform:
            pod = with_own_names(pod)
        if self._settings.ignore_overhead and pod.spec.overhead:
            pod = msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, overhead=None))
        return pod

    def _join(self, key: str, waiter: _Waiter) -> None:
        """Wait in the quota's line; the first in line makes it move."""
        line = self._waiting.get(key)
        if line is not None:
            line.append(waiter)
            return
        self._waiting[key] = [waiter]
        task = asyncio.create_task(self._serve(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, key: str) -> None:
        async with self._slots:
            while batch := self._waiting[key]:
                self._waiting[key] = []
                await self._answer(key, batch)
            del self._waiting[key]

    async def _answer(self, key: str, batch: list[_Waiter]) -> None:
        try:
            await _Batch(self, key, [one for one in batch if not one.answer.done()]).settle()
        except (ApiError, ValueError) as err:
            problem = str(err)
        except Exception as err:  # noqa: BLE001 — a bug here must not leave questions unanswered
            problem = f"Internal error occurred: {type(err).__name__}: {err}"
        else:
            problem = ""
        for one in batch:
            if not one.answer.done():
                one.answer.set_result(problem)

    # --- what a batch needs ------------------------------------------------------------------------------------------------

    @property
    def retries(self) -> Retries:
        return self._retries

    def now(self) -> float:
        return self._clock.now()

    async def pause(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    async def read(self, key: str, refused: str) -> ElasticQuota:
        """The newest that we know; asked for afresh where that is what a write was ``refused`` on."""
        namespace, _, name = key.partition("/")
        known = [one for one in self._named(name) if one.namespace == namespace]
        if written := self._written.get(key):
            known.append(written)
        if known and not (refused and self._retries.fresh_get):
            newest = max(known, key=_version)
            if not refused or newest.metadata.resource_version != refused:
                return newest
        return await self._store.get(ELASTIC_QUOTAS, name, namespace)

    async def write(self, one: ElasticQuota, used: Amounts) -> None:
        text = quota.CHILD_REQUEST.write(resources.texts(used))
        metadata = {"resourceVersion": one.metadata.resource_version, "annotations": {keys.QUOTA_CHILD_REQUEST: text}}
        written = await self._store.patch(ELASTIC_QUOTAS, one.name, {"metadata": metadata}, one.namespace)
        self._written[one.key] = written
        self._written.move_to_end(one.key)
        while len(self._written) > REMEMBERED:
            self._written.popitem(last=False)


def _version(one: ElasticQuota) -> int:
    text = one.metadata.resource_version
    return int(text) if text.isdecimal() else 0


def tries_for(changed: int, now: int, most: int) -> int:
    """How often a batch that charges ``changed`` pods may be tried, given that ``now`` tries were allowed so far."""
    fair = LEAST_TRIES if changed <= 1 else min(max(most, LEAST_TRIES), LEAST_TRIES + int(math.log2(changed)))
    return min(now, fair)


class _Batch:
    """Questions about one account that are answered with at most one write."""

    def __init__(self, admission: QuotaAdmission, key: str, waiters: list[_Waiter]) -> None:
        self._admission, self._key, self._open = admission, key, waiters
        self._charged: list[tuple[_Waiter, Amounts]] = []
        self._slept = 0.0

    async def settle(self) -> None:
        """Answer all. Raises ApiError or ValueError: then nothing was charged for those without an answer."""
        tries, refused = max(LEAST_TRIES, self._admission.retries.most), ""
        while True:
            one = await self._admission.read(self._key, refused)
            account = self._judge(account_of(one))
            tries = tries_for(len(self._charged), tries, self._admission.retries.most)
            try:
                if self._charged:
                    await self._admission.write(one, account.used)
                break
            except Conflict:
                tries, refused = tries - 1, one.metadata.resource_version
                if tries <= 0:
                    raise
                await self._pause()
        for waiter, _ in self._charged:
            _reply(waiter, "")

    def _judge(self, account: Account) -> Account:
        """Charge what fits. What was found to fit before is not judged again as long as all of it still does."""
        delta: Amounts = {}
        for _, request in self._charged:
            delta = resources.add(delta, request)
        if self._charged and not excess(account, delta):
            return account.charged(delta)
        self._charged = []
        for waiter in self._open:
            account = self._judge_one(waiter, account)
        self._open = [waiter for waiter, _ in self._charged]
        return account

    def _judge_one(self, waiter: _Waiter, account: Account) -> Account:
        if waiter.answer.done():  # gave up waiting: not to be charged
            return account
        try:
            request = charge_of(waiter.pod, account, self._admission.now())
        except ValueError as err:
            _reply(waiter, f"pod {waiter.pod.key}: spec.containers[*].resources.requests.{err}")
            return account
        problem = excess(account, request)
        if problem or not request or not waiter.charge:
            _reply(waiter, problem)
            return account
        self._charged.append((waiter, request))
        return account.charged(request)

    async def _pause(self) -> None:
        retries = self._admission.retries
        if retries.jitter > 0 and self._slept < retries.most_jitter:
            seconds = min(random.uniform(retries.jitter / 2, retries.jitter), retries.most_jitter - self._slept)  # noqa: S311
            self._slept += seconds
            await self._admission.pause(seconds)


def _reply(waiter: _Waiter, problem: str) -> None:
    if not waiter.answer.done():
        waiter.answer.set_result(problem)
