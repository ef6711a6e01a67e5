"""The manager's metrics: exact names, and series that go when nobody renews them."""

from koordinator.clock import ManualClock
from koordinator.manager.metrics import EXPIRY, PREPARE, Metrics

GAUGE = "slo_controller_node_extended_resource_allocatable_internal"


def lines(metrics, start):
    return [line for line in metrics.text().decode().splitlines() if line.startswith(start)]


def test_counters_have_exactly_their_names():
    metrics = Metrics(ManualClock())
    metrics.plugin("BatchResource", PREPARE, ok=False)
    metrics.reconcile("updateNodeStatus", ok=True)
    metrics.reconciled("nodeslo_reconcile", "createNodeSLO", ok=True)
    metrics.binding_decision("denied")
    text = metrics.text().decode()
    for line in (
        'slo_controller_node_resource_run_plugin_status{plugin="BatchResource",status="failed",reason="NodePrepare"} 1.0',
        'slo_controller_node_resource_reconcile_count{status="succeeded",reason="updateNodeStatus"} 1.0',
        'slo_controller_nodeslo_reconcile_count{status="succeeded",reason="createNodeSLO"} 1.0',
        'koord_manager_webhook_binding_admission_decisions_total{decision="denied"} 1.0',
        "koordinator_manager_is_leader 0.0",
    ):
        assert line in text.splitlines()


def test_numbers_that_nobody_renews_vanish():
    clock = ManualClock()
    metrics = Metrics(clock)
    metrics.node_resources("old", {"kubernetes.io/batch-cpu": 9000})
    clock.advance(EXPIRY - 1)
    metrics.node_resources("new", {"kubernetes.io/batch-cpu": 8500, "kubernetes.io/batch-memory": 7})
    assert len(lines(metrics, GAUGE)) == 3
    clock.advance(2)
    assert lines(metrics, GAUGE) == [
        GAUGE + '{node="new",resource="kubernetes.io/batch-cpu",unit="integer"} 8.5',
        GAUGE + '{node="new",resource="kubernetes.io/batch-memory",unit="byte"} 7.0',
    ]
    metrics.node_resources("new", {"kubernetes.io/batch-cpu": None})
    metrics.node_gone("new")
    assert lines(metrics, GAUGE) == []


def test_a_quotas_weight_goes_with_the_quota():
    metrics = Metrics(ManualClock())
    metrics.shared_weight("q", {"cpu": 4.0, "memory": 8.0})
    metrics.shared_weight("q", {"cpu": 5.0})
    name = "koord_manager_webhook_quota_shared_weight"
    assert lines(metrics, name) == [f'{name}{{elasticquota_name="q",resource_name="cpu"}} 5.0']
    metrics.quota_gone("q")
    assert lines(metrics, name) == []
