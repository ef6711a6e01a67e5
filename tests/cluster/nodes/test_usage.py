import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api.qos import QoS
from koordinator.cluster.nodes.usage import (
    CEILING,
    DAY,
    SPREAD,
    Load,
    Usage,
    node_usage,
    noise,
    percentiles,
    pod_usage,
    seed_of,
)

GIB = 1024**3
NODE = Usage(16_000, 64 * GIB)
times = st.floats(0, 10 * DAY)


def load(qos=QoS.LS, cpu=1000, memory=GIB, name="p", **fixed):
    return Load(seed_of(name, 0), qos, cpu, memory, **fixed)


loads = st.dictionaries(
    st.text(max_size=4),
    st.builds(
        lambda qos, cpu, seed: Load(seed, qos, cpu, cpu * 1024**2),
        st.sampled_from(list(QoS)),
        st.integers(0, 20_000),
        st.integers(0, 2**64 - 1),
    ),
    max_size=8,
)


def test_services_swing_with_the_day_and_batch_runs_flat_out():
    night, day = 3 * 3600.0, 15 * 3600.0
    services = [load(QoS.LS, name=f"s{i}") for i in range(50)]
    assert sum(pod_usage(one, day).cpu for one in services) > 2 * sum(pod_usage(one, night).cpu for one in services)
    batch = [load(QoS.BE, name=f"b{i}") for i in range(50)]
    assert all(800 <= pod_usage(one, at).cpu <= 1000 for one in batch for at in (night, day))


def test_the_same_question_gets_the_same_answer_and_another_seed_another():
    assert pod_usage(load(), 1e6) == pod_usage(load(), 1e6)
    assert seed_of("p", 0) != seed_of("p", 1) != seed_of("q", 1)


def test_what_is_fixed_is_used_and_pods_without_requests_use_little():
    assert pod_usage(load(fixed_cpu=1500, fixed_memory=7), 0) == Usage(1500, 7)
    idle = pod_usage(load(cpu=0, memory=0), 0)
    assert 0 < idle.cpu <= 100


def test_best_effort_gives_way_first():
    pods = {"service": load(QoS.LS, fixed_cpu=10_000), "batch": load(QoS.BE, fixed_cpu=10_000)}
    used = node_usage(NODE, 1, pods, 0)
    assert used.pods["service"].cpu == 10_000
    assert used.pods["batch"].cpu < 6_000


@given(pods=loads, at=times)
def test_a_node_never_uses_more_than_it_has(pods, at):
    used = node_usage(NODE, 1, pods, at)
    assert used.node.cpu <= NODE.cpu * CEILING + 1
    assert used.node.memory <= NODE.memory
    assert used.node.cpu == used.system.cpu + sum(usage.cpu for usage in used.pods.values())
    assert all(usage.cpu >= 0 for usage in used.pods.values())


@given(seed=st.integers(0, 2**64 - 1), at=times)
def test_noise_is_bounded_and_smooth(seed, at):
    assert -1 <= noise(seed, at) <= 1
    assert noise(seed, at + 0.1) == pytest.approx(noise(seed, at), abs=0.02)


@given(cpu=st.integers(0, NODE.cpu), memory=st.integers(0, NODE.memory))
def test_percentiles_rise_and_stay_within_the_node(cpu, memory):
    values = percentiles(Usage(cpu, memory), NODE, SPREAD)
    order = [values[name].cpu for name in ("p50", "p90", "p95", "p99")]
    assert order == sorted(order)
    assert order[-1] <= NODE.cpu
