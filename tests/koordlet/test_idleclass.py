import pytest

from koordinator.api.strategies import CPUQOS, ResourceQOS, ResourceQOSPolicies, ResourceQOSStrategy
from koordinator.koordlet.enforce.batch import BatchResource
from koordinator.koordlet.enforce.decision import Skip
from koordinator.koordlet.enforce.idleclass import IdleClass, IdleRule, idle_rule
from koordinator.koordlet.view import Tier, View
from koordlet.trees import batch_pod, view_of

DIRS = {"Guaranteed": "kubepods", "Burstable": "kubepods/burstable", "BestEffort": "kubepods/besteffort"}
CORE_SCHED = ResourceQOSPolicies(cpu_policy="coreSched")


def strategy(policies=CORE_SCHED, enable=True, idle=1) -> ResourceQOSStrategy:
    return ResourceQOSStrategy(policies=policies, be_class=ResourceQOS(cpu_qos=CPUQOS(enable=enable, sched_idle=idle)))


def view(given) -> View:
    return View(pods=[view_of(batch_pod())], qos_strategy=given, tier=Tier("kubepods/besteffort"))


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        pytest.param(None, None, id="no strategy"),
        pytest.param(strategy(policies=None), None, id="another policy"),
        pytest.param(strategy(), IdleRule(best_effort=True), id="idle"),
        pytest.param(strategy(enable=False), IdleRule(), id="not enabled"),
        pytest.param(strategy(idle=0), IdleRule(), id="enabled, not idle"),
    ],
)
def test_which_classes_idle(given, rule):
    assert idle_rule(given) == rule


def written(decision) -> list[tuple[str, str, str]]:
    return [(write.group, write.file, write.value) for write in decision]


def test_an_idle_class_is_written_and_its_weight_put_back_when_it_idles_no_more(notices):
    idle = IdleClass(notices, lambda: True, DIRS)
    on = [("kubepods/burstable", "cpu.idle", "0"), ("kubepods/besteffort", "cpu.idle", "1")]
    assert written(idle.round(view(strategy()))) == on
    off = [
        ("kubepods/burstable", "cpu.idle", "0"),
        ("kubepods/besteffort", "cpu.idle", "0"),
        ("kubepods/besteffort", "cpu.shares", "2"),
    ]
    assert written(idle.round(view(strategy(policies=None)))) == off
    assert isinstance(idle.round(view(strategy(policies=None))), Skip)


def test_the_weight_of_a_tier_that_idles_is_left_alone(notices):
    batch = BatchResource(notices)
    tier = ("kubepods/besteffort", "cpu.shares", "2")
    assert tier not in written(batch.round(view(strategy())))
    assert tier in written(batch.round(view(strategy(idle=0))))


def test_a_kernel_without_it_is_said_once(notices, caplog):
    idle = IdleClass(notices, lambda: False, DIRS)
    for _ in range(2):
        assert isinstance(idle.round(view(strategy())), Skip)
    assert len(caplog.records) == 1
