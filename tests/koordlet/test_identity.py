import pytest

from koordinator.api.strategies import CPUQOS, ResourceQOS, ResourceQOSStrategy
from koordinator.koordlet.enforce.decision import Skip
from koordinator.koordlet.enforce.identity import GroupIdentity
from koordinator.koordlet.view import Tier, View
from koordlet.trees import CONTAINER, batch_pod, pod, view_of

ON = ResourceQOS(cpu_qos=CPUQOS(enable=True))
STRATEGY = ResourceQOSStrategy(lsr_class=ON, ls_class=ON, be_class=ON)
DIRS = {"Guaranteed": "kubepods", "Burstable": "kubepods/burstable", "BestEffort": "kubepods/besteffort"}
LS = {"koordinator.sh/qosClass": "LS"}


def round_of(notices, *pods, strategy=STRATEGY, supported=True):
    view = View(pods=[view_of(one) for one in pods], qos_strategy=strategy, tier=Tier("kubepods/besteffort"))
    decision = GroupIdentity(notices, lambda: supported, DIRS).round(view)
    return decision if isinstance(decision, Skip) else {write.group: write.value for write in decision}


def test_tiers_pods_and_containers_get_the_value_of_their_class(notices):
    found = round_of(notices, batch_pod())
    assert found == {
        "kubepods": "0",
        "kubepods/burstable": "2",
        "kubepods/besteffort": "-1",
        "kubepods/besteffort/podu1": "-1",
        f"kubepods/besteffort/podu1/{CONTAINER}": "-1",
    }


@pytest.mark.parametrize(("raw", "said"), [("{", "cannot be read"), ('{"enable":true,"groupIdentity":7}', "-1 to 2")])
def test_a_malformed_wish_of_a_pod_is_said_once_and_moves_nothing(notices, caplog, raw, said):
    for _ in range(2):
        found = round_of(notices, pod(labels=LS, annotations={"koordinator.sh/cpuQOS": raw}))
        assert "kubepods/besteffort/podu1" not in found
    assert len(caplog.records) == 1


def test_a_kernel_without_it_is_said_once_and_only_when_asked_for(notices, caplog):
    off = ResourceQOSStrategy()
    assert isinstance(round_of(notices, batch_pod(), strategy=off, supported=False), Skip)
    assert not caplog.records
    for _ in range(2):
        assert isinstance(round_of(notices, batch_pod(), supported=False), Skip)
    assert len(caplog.records) == 1


def test_without_a_strategy_nothing_is_touched(notices):
    assert round_of(notices, batch_pod(), strategy=None) == Skip("no QoS strategy in NodeSLO")
