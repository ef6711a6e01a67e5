import msgspec
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api.sloconfig.colocation import ColocationStrategy, NodeColocation
from koordinator.api.sloconfig.overlay import overlay
from koordinator.api.strategies import (
    CPUQOS,
    BlkIOQOS,
    Block,
    IOConfig,
    MemoryQOS,
    ResourceQOS,
    ResourceQOSStrategy,
    ResourceThresholdStrategy,
    SystemStrategy,
)

thresholds = st.builds(
    ResourceThresholdStrategy,
    enable=st.none() | st.booleans(),
    cpu_suppress_threshold_percent=st.none() | st.integers(0, 100),
    cpu_suppress_policy=st.sampled_from(["", "cpuset", "cfsQuota"]),
    memory_evict_threshold_percent=st.none() | st.integers(0, 100),
)


@given(thresholds, thresholds, thresholds)
def test_laying_over_is_associative_and_idempotent(a, b, c):
    assert overlay(overlay(a, b), c) == overlay(a, overlay(b, c))
    assert overlay(a, a) == a
    assert overlay(a, ResourceThresholdStrategy()) == a
    assert overlay(ResourceThresholdStrategy(), a) == a


@given(thresholds, thresholds)
def test_nothing_below_or_above_is_changed(base, top):
    before = msgspec.json.encode([base, top])
    overlay(base, top)
    assert msgspec.json.encode([base, top]) == before


def test_explicit_zero_and_false_count_as_said():
    base = ResourceThresholdStrategy(enable=True, cpu_suppress_threshold_percent=65)
    assert overlay(
        base, ResourceThresholdStrategy(enable=False, cpu_suppress_threshold_percent=0)
    ) == ResourceThresholdStrategy(enable=False, cpu_suppress_threshold_percent=0)


def test_objects_merge_field_by_field():
    base = ResourceQOSStrategy(
        be_class=ResourceQOS(cpu_qos=CPUQOS(enable=True, group_identity=0), memory_qos=MemoryQOS(wmark_ratio=9))
    )
    top = ResourceQOSStrategy(be_class=ResourceQOS(cpu_qos=CPUQOS(group_identity=-1)), ls_class=ResourceQOS())
    assert overlay(base, top) == ResourceQOSStrategy(
        be_class=ResourceQOS(cpu_qos=CPUQOS(enable=True, group_identity=-1), memory_qos=MemoryQOS(wmark_ratio=9)),
        ls_class=ResourceQOS(),
    )


def test_maps_merge_by_key_and_values_are_replaced_whole():
    base = ColocationStrategy(extensions={"a": {"x": 1}, "b": 1})
    assert overlay(base, ColocationStrategy(extensions={"a": {"y": 2}})).extensions == {"a": {"y": 2}, "b": 1}


def test_lists_of_objects_are_laid_over_place_by_place():
    base = BlkIOQOS(blocks=[Block(name="a", io_cfg=IOConfig(read_iops=1)), Block(name="b")])
    top = BlkIOQOS(blocks=[Block(type="device", io_cfg=IOConfig(write_iops=2))])
    assert overlay(base, top).blocks == [Block(name="a", type="device", io_cfg=IOConfig(read_iops=1, write_iops=2))]
    assert overlay(base, BlkIOQOS(blocks=[])).blocks == base.blocks
    assert [one.name for one in overlay(BlkIOQOS(), base).blocks] == ["a", "b"]


def test_bandwidth_is_always_said():
    assert overlay(SystemStrategy(total_network_bandwidth="10G"), SystemStrategy()).total_network_bandwidth == "0"


def test_fields_of_an_entry_that_are_not_the_strategys_do_not_count():
    merged = overlay(ColocationStrategy(enable=True), NodeColocation(name="a", degrade_time_minutes=1))
    assert merged == ColocationStrategy(enable=True, degrade_time_minutes=1)
