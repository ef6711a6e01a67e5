import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.koordlet.enforce.decision import Skip
from koordinator.koordlet.enforce.suppress import MIN_QUOTA_US, CPUSuppress, next_quota
from koordinator.koordlet.host.machine import Processor
from koordinator.koordlet.observe.strategy import Thresholds
from koordinator.koordlet.view import Tier, View
from koordlet.trees import batch_pod, node, view_of

GROUP = "kubepods/besteffort"
CPUS = [Processor(0, 0, cpu // 2, cpu) for cpu in range(4)]
BY_QUOTA = Thresholds(True, 65, None, "cfsQuota")
BY_CPUSET = Thresholds(True, 65, None, "cpuset")
TIER = Tier(GROUP, -1, frozenset(range(4)), ((GROUP,), (f"{GROUP}/podu1",), ()))


def look(**changes):
    """Four cores, 1.0 used by services, 0.5 by batch, 0.25 by the system."""
    view = View(
        node=node(),
        thresholds=BY_QUOTA,
        pods=[view_of(batch_pod())],
        node_cpu=1.75,
        pod_cpu={"u1": 0.5, "service": 1.0},
        processors=CPUS,
        tier=TIER,
    )
    return msgspec.structs.replace(view, **changes)


def quotas(decision):
    return [write.value for write in decision if write.file == "cpu.cfs_quota_us"]


def cpusets(decision):
    return {write.group: write.value for write in decision if write.file == "cpuset.cpus"}


def test_batch_gets_what_services_and_system_leave_of_the_threshold():
    assert quotas(CPUSuppress().round(look())) == ["135000"]  # 4 × 65 % − 1.0 − 0.25


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"thresholds": None}, "no NodeSLO yet"),
        ({"node": None}, "no node object or no CPU sample yet"),
        ({"node_cpu": None}, "no node object or no CPU sample yet"),
        ({"node": node(cpu="0")}, "node n1: status.capacity has no cpu"),
        ({"tier": Tier(GROUP)}, "the best-effort tier's quota cannot be read"),
    ],
)
def test_without_knowledge_values_stay(changes, reason):
    assert CPUSuppress().round(look(**changes)) == Skip(reason)


def test_a_restart_with_the_strategy_off_lifts_what_a_former_run_left_behind_once():
    strategy, off = CPUSuppress(), look(thresholds=Thresholds(), tier=Tier(GROUP, 50_000))
    assert quotas(strategy.round(off)) == ["-1"]
    assert strategy.round(off) == Skip("turned off in NodeSLO")


def test_turning_it_off_lifts_the_quota():
    strategy = CPUSuppress()
    strategy.round(look())
    assert quotas(strategy.round(look(thresholds=Thresholds()))) == ["-1"]


def test_changing_the_policy_lifts_what_the_other_had_set():
    strategy = CPUSuppress()
    assert cpusets(strategy.round(look(thresholds=BY_CPUSET))) == {GROUP: "0-1", f"{GROUP}/podu1": "0-1"}
    squeezed = Tier(GROUP, -1, frozenset({0, 1}), TIER.groups)
    decision = strategy.round(look(tier=squeezed))
    assert quotas(decision) == ["135000"]
    assert cpusets(decision) == {GROUP: "0-3", f"{GROUP}/podu1": "0-3"}
    decision = strategy.round(look(thresholds=BY_CPUSET, tier=Tier(GROUP, 135_000, frozenset(range(4)), TIER.groups)))
    assert quotas(decision) == ["-1"]


def test_a_squeezed_set_that_a_former_run_left_is_not_what_gets_restored():
    left = Tier(GROUP, -1, frozenset({0, 1}), TIER.groups)
    writes = CPUSuppress().round(look(thresholds=BY_CPUSET, tier=left))
    assert {write.restore for write in writes if write.file == "cpuset.cpus"} == {"0-3"}


def test_the_budget_and_its_parts_are_there_to_be_asked():
    strategy = CPUSuppress()
    strategy.round(look())
    assert (strategy.last.suppress_milli, strategy.last.pods_non_be, strategy.last.system) == (1350, 1.0, 0.25)


@given(suppress=st.integers(-(10**6), 10**6), cores=st.integers(1, 512), current=st.integers(-1, 10**8))
def test_a_quota_is_never_below_the_minimum_and_grows_by_a_tenth_at_most(suppress, cores, current):
    quota = next_quota(suppress, cores * 1000, current)
    if quota is not None:
        assert quota >= min(MIN_QUOTA_US, quota if current == 0 else MIN_QUOTA_US)
        assert current == -1 or quota - current <= cores * 10_000


@given(suppress=st.integers(0, 4000), current=st.integers(2_000, 400_000))
def test_rounds_converge_to_the_budget(suppress, current):
    for _ in range(60):
        quota = next_quota(suppress, 4000, current)
        if quota is None:
            break
        current = quota
    assert abs(current - max(suppress * 100, MIN_QUOTA_US)) < 4 * 1000
