import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api.core import Container, Pod
from koordinator.cluster.nodes.process import limits
from koordinator.cluster.nodes.process.limits import Limits

MI = 1024 * 1024


def container(requests: dict | None = None, caps: dict | None = None) -> dict:
    return {"name": "c", "resources": {"requests": requests or {}, "limits": caps or {}}}


def pod(*containers: dict, **spec) -> Pod:
    return msgspec.convert({"spec": {"containers": list(containers), **spec}}, Pod)


@pytest.mark.parametrize(
    ("milli", "shares", "quota"),
    [(0, 2, None), (1, 2, 1000), (10, 10, 1000), (500, 512, 50_000), (300_000, 262_144, 30_000_000)],
)
def test_shares_and_quota_as_the_kubelet_computes_them(milli, shares, quota):
    assert (limits.shares(milli), limits.quota_us(milli)) == (shares, quota)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_more_cpu_never_means_fewer_shares_or_less_quota(a, b):
    low, high = sorted((a, b))
    assert 2 <= limits.shares(low) <= limits.shares(high) <= 262_144
    assert (limits.quota_us(low) or 0) <= (limits.quota_us(high) or 0)


@given(st.integers(-5, 10**7))
def test_weight_stays_within_the_kernels_bounds(shares):
    assert 1 <= limits.weight(shares) <= 10_000


def test_weight_at_its_ends():
    assert (limits.weight(2), limits.weight(1024), limits.weight(262_144)) == (1, 39, 10_000)


def test_a_container_without_a_request_gets_shares_for_its_limit():
    got = limits.container_limits(msgspec.convert(container(caps={"cpu": "250m", "memory": "64Mi"}), Container))
    assert got == Limits(shares=256, quota_us=25_000, memory=64 * MI)


def test_a_best_effort_pod_gets_the_least_shares_and_no_limits():
    assert limits.pod_limits(pod(container({"kubernetes.io/batch-cpu": "1000"})), "BestEffort") == Limits(shares=2)


def test_a_pod_limit_needs_a_limit_on_every_container():
    both = pod(container({"cpu": "1"}, {"cpu": "2", "memory": "1Mi"}), container({"cpu": "1"}, {"cpu": "1"}))
    assert limits.pod_limits(both, "Burstable") == Limits(shares=2048, quota_us=300_000, memory=None)


def test_an_init_container_without_a_limit_lifts_the_pods_limit():
    one = pod(container({"cpu": "1"}, {"cpu": "1"}), initContainers=[container()])
    assert limits.pod_limits(one, "Burstable").quota_us is None


def test_burstable_shares_add_up():
    assert limits.burstable_shares([pod(container({"cpu": "500m"})), pod(container({"cpu": "250m"}))]) == 768


@pytest.mark.parametrize(
    ("kube_qos", "memory", "score"),
    [
        ("Guaranteed", "1Gi", -997),
        ("BestEffort", "0", 1000),
        ("Burstable", "256Mi", 750),
        ("Burstable", "0", 999),
        ("Burstable", "2Gi", 3),
    ],
)
def test_oom_scores_as_the_kubelet_sets_them(kube_qos, memory, score):
    assert limits.oom_score(msgspec.convert(container({"memory": memory}), Container), kube_qos, 1024 * MI) == score


def test_a_bad_quantity_names_its_resource():
    with pytest.raises(ValueError, match="cpu: 'lots'"):
        limits.container_limits(msgspec.convert(container({"cpu": "lots"}), Container))
