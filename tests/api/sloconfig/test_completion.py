from koordinator.api.slo import NodeSLOSpec
from koordinator.api.sloconfig.completion import DEFAULT_RESOURCE_QOS, NEUTRAL, complete
from koordinator.api.strategies import CPUQOS, BlkIOQOS, ResourceQOS, ResourceQOSStrategy


def test_an_empty_spec_is_completed_and_neutral():
    spec = complete(NodeSLOSpec())
    qos = spec.resource_qos_strategy
    assert qos.ls_class.cpu_qos == NEUTRAL.cpu_qos
    assert qos.be_class.blkio_qos == BlkIOQOS(enable=False)
    assert spec.extensions == {}
    assert spec.resource_used_threshold_with_be.cpu_suppress_threshold_percent == 65


def test_completing_twice_changes_nothing():
    once = complete(NodeSLOSpec())
    assert complete(once) == once


def test_an_enabled_kind_has_the_recommended_values():
    given = ResourceQOSStrategy(be_class=ResourceQOS(cpu_qos=CPUQOS(enable=True)))
    qos = complete(NodeSLOSpec(resource_qos_strategy=given)).resource_qos_strategy
    assert qos.be_class.cpu_qos.group_identity == -1
    assert qos.be_class.memory_qos == NEUTRAL.memory_qos
    assert qos.system_class == DEFAULT_RESOURCE_QOS.system_class


def test_extensions_survive_where_a_default_is_registered():
    spec = complete(NodeSLOSpec(extensions={"Object": {"a": 1, "b": 2}}), {"a": 0, "c": 3})
    assert spec.extensions == {"a": 1, "c": 3}
