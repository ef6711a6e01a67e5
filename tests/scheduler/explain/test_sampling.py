"""Where kube-scheduler would have stopped; what is said about it when somebody has set a percentage."""

import pytest

from koordinator.clock import ManualClock
from koordinator.scheduler.app import App, SchedulerOptions
from koordinator.scheduler.explain import text
from koordinator.scheduler.explain.sampling import nodes_to_find
from scheduler.builders import node, pod

FILE = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
{0}
profiles: [{{schedulerName: koord-scheduler{1}}}]
"""
SAID = "of 200 nodes fitted (all were looked at; kube-scheduler would have stopped at 100 that fit)"


@pytest.mark.parametrize(
    ("nodes", "percentage", "expected"),
    [(0, 0, 0), (99, 10, 99), (100, 10, 100), (1000, 0, 420), (50_000, 0, 2500), (5000, 70, 3500), (400, 100, 400)],
)
def test_the_rule(nodes, percentage, expected):
    assert nodes_to_find(nodes, percentage) == expected


@pytest.mark.parametrize(
    ("everywhere", "own", "told"),
    [
        ("percentageOfNodesToScore: 30", "", True),
        ("", ", percentageOfNodesToScore: 30", True),
        ("percentageOfNodesToScore: 30", ", percentageOfNodesToScore: 0", False),
        ("percentageOfNodesToScore: 100", "", False),
        ("", "", False),
    ],
)
async def test_it_is_said_only_where_a_percentage_is_set(tmp_path, everywhere, own, told):
    file = tmp_path / "config.yaml"
    file.write_text(FILE.format(everywhere, own))
    app = App(None, SchedulerOptions(config=str(file), seed=1), ManualClock())
    for index in range(200):
        app.feed.node_set(node(f"n{index}"))
    app.feed.pod_added(pod("p", cpu="1"))
    app.scheduler.schedule_one()
    answer = app.explainer.pod("default", "p")
    assert answer.sample == (100 if told else None)
    assert (SAID in text.of_pod(answer)) == told
