"""A pod that is resized in place counts as the most of what it had, has and shall have."""

import pytest

from koordinator.api.core import ContainerStatus, ResourceRequirements
from koordinator.api.meta import Condition
from koordinator.scheduler.engine.pod import PodReader
from koordinator.scheduler.engine.resized import as_counted
from scheduler import builders


def running(wanted, allocated=None, actual=None, conditions=()):
    pod = builders.pod(cpu=wanted)
    status = ContainerStatus(
        name="main",
        allocated_resources={"cpu": allocated} if allocated else None,
        resources=ResourceRequirements(requests={"cpu": actual}) if actual else None,
    )
    pod.status.container_statuses = [status]
    pod.status.conditions = [Condition(type="PodResizePending", status="True", reason=reason) for reason in conditions]
    return pod


@pytest.mark.parametrize(
    ("pod", "milli"),
    [
        (running("2"), 2000),
        (running("2", "2"), 2000),
        (running("2", "1"), 2000),
        (running("1", "3", "2"), 3000),
        (running("1", "1", "4"), 4000),
        (running("8", "2", "2", ["Deferred"]), 8000),
        (running("8", "2", "2", ["Infeasible"]), 2000),
    ],
)
def test_requests(pod, milli):
    assert PodReader().read(pod).template.requests["cpu"] == milli


def test_a_pod_that_runs_as_written_keeps_its_template():
    """Or every confirmation by the kubelet would count as a change."""
    reader = PodReader()
    pod = running("1000m", "1", "1")
    assert as_counted(pod) is pod
    assert reader.read(pod).template is reader.read(builders.pod(cpu="1000m")).template
    assert reader.read(running("1", "2")).pod.spec.containers[0].resources.requests == {"cpu": "1"}


def test_an_unreadable_amount_is_an_error():
    with pytest.raises(ValueError, match="cpu"):
        PodReader().read(running("1", "much"))
