"""Quota admission: an account is never overdrawn, whoever asks at the same time, and nobody waits for ever."""

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koordinator.api import keys
from koordinator.api.core import Pod
from koordinator.api.quota import ElasticQuota
from koordinator.api.registry import ELASTIC_QUOTAS
from koordinator.api.transform import with_own_names
from koordinator.clock import ManualClock
from koordinator.kube.errors import ApiError, Conflict, ServerUnavailable
from koordinator.kube.patches import merge
from koordinator.manager.webhooks.quotas import admission
from koordinator.manager.webhooks.quotas.admission import QuotaAdmission, Retries, Settings, tries_for
from koordinator.manager.webhooks.quotas.evaluate import account_of, charge_of
from waiting import until

ON = frozenset({"EnableQuotaAdmission"})


def pod(cpu, quota="q", **spec):
    containers = [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]
    metadata = {"name": "p", "namespace": "ns", "labels": {keys.QUOTA_NAME: quota}}
    return msgspec.convert({"metadata": metadata, "spec": {"containers": containers, **spec}}, Pod)


def quota(cpu="10", name="q", namespace="ns", **annotations):
    metadata = {"name": name, "namespace": namespace, "resourceVersion": "1", "annotations": annotations}
    return msgspec.convert({"metadata": metadata, "spec": {"max": {"cpu": cpu}}}, ElasticQuota)


class Store:
    """One quota with optimistic locking; others may write in between, and a cache may lag behind."""

    def __init__(self, one, disturbances=0, failure=None):
        self.one, self.cached = one, one
        self.disturbances, self.failure, self.writes = disturbances, failure, 0

    async def get(self, resource, name, namespace):
        assert resource is ELASTIC_QUOTAS
        return self.one

    def write(self, patch):
        metadata = {**patch["metadata"], "resourceVersion": str(int(self.one.metadata.resource_version) + 1)}
        self.one = msgspec.convert(merge(msgspec.to_builtins(self.one), {"metadata": metadata}), ElasticQuota)

    async def patch(self, resource, name, patch, namespace):
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        if self.disturbances:
            self.disturbances -= 1
            self.write({"metadata": {"labels": {"touched": str(self.disturbances)}}})
        if patch["metadata"]["resourceVersion"] != self.one.metadata.resource_version:
            raise Conflict(409, "Conflict", "the object has been modified")
        self.writes += 1
        self.write(patch)
        return self.one

    @property
    def used(self):
        return account_of(self.one).used.get("cpu")


def asking(store, gates=ON, retries=admission.DEFAULT_RETRIES, others=()):
    def named(name):
        return [one for one in (store.cached, *others) if one.name == name]

    def quota_of(one):
        return one.labels.get(keys.QUOTA_NAME, "")

    return QuotaAdmission(store, ManualClock(), named, quota_of, Settings.of(gates), retries)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(0, 3))
@settings(max_examples=50)
def test_an_account_is_never_overdrawn_and_holds_exactly_what_was_let_in(requests, disturbances):
    store = Store(quota("10"), disturbances)

    async def ask():
        one, other = asking(store), asking(store)  # two replicas
        return await asyncio.gather(
            *((one if i % 2 else other).objection("CREATE", pod(str(cpu)), None) for i, cpu in enumerate(requests))
        )

    answers = asyncio.run(ask())
    let_in = sum(cpu for cpu, answer in zip(requests, answers, strict=True) if not answer)
    assert let_in <= 10
    assert (store.used.value if store.used else 0) == let_in


async def test_questions_that_wait_together_cost_one_write():
    store = Store(quota("100"))
    asked = asking(store)
    assert set(await asyncio.gather(*(asked.objection("CREATE", pod("1"), None) for _ in range(50)))) == {""}
    assert store.used.value == 50
    assert store.writes <= 2


async def test_what_is_only_tried_is_not_charged():
    store = Store(quota())
    assert await asking(store).objection("CREATE", pod("3"), None, charge=False) == ""
    assert "exceeded quota: ns/q" in await asking(store).objection("CREATE", pod("30"), None, charge=False)
    assert (store.used, store.writes) == (None, 0)


@pytest.mark.parametrize(
    ("operation", "asked", "old", "gates"),
    [
        ("CREATE", pod("99"), None, frozenset()),
        ("CREATE", pod("99", "koordinator-default-quota"), None, ON),
        ("CREATE", pod("99", ""), None, ON),
        ("UPDATE", pod("99"), pod("1", "before"), ON),
        ("UPDATE", pod("99"), pod("1"), ON | {"EnableQuotaAdmissionOnUpdate"}),
        ("DELETE", pod("99"), None, ON),
    ],
    ids=["gate off", "default quota", "no quota", "update", "same quota", "delete"],
)
async def test_who_is_not_asked_about(operation, asked, old, gates):
    assert await asking(Store(quota()), gates).objection(operation, asked, old) == ""


async def test_quotas_of_one_name_in_two_namespaces_are_no_quota():
    asked = asking(Store(quota()), others=(quota(namespace="other"),))
    assert await asked.objection("CREATE", pod("1"), None) == "more than one elastic quota q found"


async def test_a_server_that_refuses_is_the_answer():
    store = Store(quota(), failure=ServerUnavailable(503, "ServiceUnavailable", "try later"))
    assert "try later" in await asking(store).objection("CREATE", pod("1"), None)
    store = Store(quota(), disturbances=99)
    assert "has been modified" in await asking(store).objection("CREATE", pod("1"), None)


@pytest.mark.parametrize("key", [keys.QUOTA_CHILD_REQUEST, keys.QUOTA_ADMISSION])
async def test_an_unreadable_account_denies_with_the_annotations_name(key):
    answer = await asking(Store(quota(**{key: '{"cpu":'}))).objection("CREATE", pod("1"), None)
    assert key in answer


async def test_an_unreadable_request_denies_that_pod_only():
    asked = asking(Store(quota()))
    answers = await asyncio.gather(*(asked.objection("CREATE", pod(cpu), None) for cpu in ("1", "lots", "2")))
    assert (answers[0], answers[2]) == ("", "")
    assert answers[1].startswith("pod ns/p: spec.containers[*].resources.requests.")


async def test_nobody_waits_for_ever(monkeypatch):
    monkeypatch.setattr(admission, "WAIT_SECONDS", 0.02)

    class Slow(Store):
        async def patch(self, *_):
            await asyncio.Event().wait()

    assert await asking(Slow(quota())).objection("CREATE", pod("1"), None) == admission.TIMED_OUT


async def test_pauses_between_tries_are_bounded():
    retries = Retries(most=5, jitter=0.01, most_jitter=0.02, fresh_get=True)
    store = Store(quota(), disturbances=2)
    asked = asking(store, retries=retries)
    asked.pause = lambda _: asyncio.sleep(0)
    assert await asked.objection("CREATE", pod("1"), None) == ""


@pytest.mark.parametrize(("changed", "now", "most", "tries"), [(0, 3, 3, 3), (1, 9, 9, 3), (8, 9, 9, 6), (64, 5, 9, 5)])
def test_more_pods_are_worth_more_tries(changed, now, most, tries):
    assert tries_for(changed, now, most) == tries


def test_finished_pods_and_those_past_their_grace_period_cost_nothing():
    account = account_of(quota())
    for status in ("Succeeded", "Failed"):
        done = msgspec.structs.replace(pod("3"), status=msgspec.structs.replace(pod("3").status, phase=status))
        assert charge_of(done, account, 0.0) == {}
    gone = pod("3")
    gone.metadata.deletion_timestamp, gone.metadata.deletion_grace_period_seconds = "2026-01-01T00:00:00Z", 30
    now = 1_767_225_600.0
    assert charge_of(gone, account, now + 29)
    assert not charge_of(gone, account, now + 31)


def test_a_pod_may_be_counted_under_other_names():
    given = pod("3", overhead={"cpu": "1", "memory": "1Gi"})
    given.metadata.annotations = {keys.REPLACE_RESOURCES: "cpu:kubernetes.io/batch-cpu,memory:,nonsense"}
    changed = with_own_names(given)
    assert changed.spec.containers[0].resources.requests == {"kubernetes.io/batch-cpu": "3k"}
    assert changed.spec.overhead == {"kubernetes.io/batch-cpu": "1k"}
    assert with_own_names(pod("3")) == pod("3")


async def test_on_a_server_pods_come_in_until_the_account_is_spent(cluster, run_manager):
    body = {"metadata": {"name": "team"}, "spec": {"min": {"cpu": "1"}, "max": {"cpu": "10"}}}
    async with run_manager(cluster.client, gates="EnableQuotaAdmission=true"):
        await cluster.client.create(ELASTIC_QUOTAS, body, "default")
        label = {"labels": {keys.QUOTA_NAME: "team"}}

        async def known():
            try:
                await cluster.pod("first", **label)
            except ApiError:
                return False
            return True

        await until(known)
        answers = await asyncio.gather(*(cluster.pod(f"p{i}", cpu="2", **label) for i in range(6)), return_exceptions=True)
    refused = [one for one in answers if isinstance(one, ApiError)]
    assert len(refused) == 3
    assert "exceeded quota: default/team, requested: cpu=2, used: cpu=10, limited: cpu=10" in refused[0].message
