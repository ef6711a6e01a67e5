from pathlib import Path

import pytest

from koordinator.api import features
from koordinator.api.features import KOORDLET, MANAGER, SCHEDULER, Stage
from koordinator.errors import ConfigInvalid


def test_defaults():
    assert "BECPUSuppress" in KOORDLET.parse("")
    assert "BECPUManager" not in KOORDLET.parse("")
    assert "DynamicSchedulerCheck" in SCHEDULER.parse("")


def test_single_gates_and_whole_stages():
    on = KOORDLET.parse("AllAlpha=true, BECPUManager=false,AllBeta=0")
    assert "PSICollector" in on
    assert "BECPUManager" not in on
    assert "CPUBurst" not in on
    assert "CSIStorageCapacity" in SCHEDULER.parse("AllBeta=false")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Nonsense=true", "unrecognized feature gate: Nonsense"),
        ("CPUBurst", "missing bool value for CPUBurst"),
        ("CPUBurst=maybe", "must be true or false"),
        ("ElasticQuotaIgnoreTerminatingPod=true", "unrecognized feature gate"),
    ],
)
def test_bad_gates_are_one_clear_error(text, reason):
    with pytest.raises(ConfigInvalid, match=reason):
        (KOORDLET if text.startswith("CPU") else MANAGER).parse(text)


@pytest.mark.parametrize("gates", [pytest.param(one, id=one.component) for one in features.ALL])
def test_no_gate_is_there_twice(gates):
    names = [gate.name for gate in gates.gates]
    assert len(names) == len(set(names))


def test_gates_that_need_the_threshold_strategy_are_koordlets():
    assert {gate.name for gate in KOORDLET.gates} >= features.NEED_THRESHOLD_STRATEGY


def test_kube_schedulers_own_gates_are_accepted_and_change_nothing():
    defaults = SCHEDULER.parse("")
    assert SCHEDULER.parse("SchedulerQueueingHints=true,DynamicResourceAllocation=false") == defaults
    with pytest.raises(ConfigInvalid, match="must be true or false"):
        SCHEDULER.parse("SchedulerQueueingHints=perhaps")
    with pytest.raises(ConfigInvalid, match="unrecognized feature gate"):
        MANAGER.parse("SchedulerQueueingHints=true")


def test_the_page_tells_truly_which_gates_of_the_scheduler_wait_for_their_plugins():
    root = Path(features.__file__).parent.parent
    files = [*(root / "scheduler").rglob("*.py"), root / "api" / "transform.py"]
    text = "".join(file.read_text() for file in files)
    read = {gate.name for gate in SCHEDULER.gates if f'"{gate.name}"' in text}
    mature = {gate.name for gate in SCHEDULER.gates if gate.stage is Stage.GA}
    assert {gate.name for gate in SCHEDULER.gates} - read - mature == features.WAITING
