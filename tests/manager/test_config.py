"""The last good configuration stays in force, key by key."""

import itertools

import msgspec
import pytest

from koordinator.api.core import Node
from koordinator.manager.config import ConfigCache

NODE = msgspec.convert({"metadata": {"name": "n", "labels": {"pool": "a"}}}, Node)
GOOD = '{"enable": true, "cpuReclaimThresholdPercent": 70}'


def synced(*readings):
    cache = ConfigCache()
    return cache, [cache.sync(reading) for reading in readings]


def test_no_config_map_is_the_default_and_available():
    cache, _ = synced(None)
    assert cache.colocation_of(NODE).enable is False
    assert cache.colocation_error


def test_bad_json_keeps_what_was_and_says_so():
    cache, (_, outcome) = synced({"colocation-config": GOOD}, {"colocation-config": '{"enable":tru'})
    assert cache.colocation_of(NODE).cpu_reclaim_threshold_percent == 70
    assert outcome.colocation is False
    assert outcome.problems[0].reason == "ColocationCfgUnmarshalFailed"
    assert outcome.problems[0].message.startswith("failed to unmarshal colocation config, err: ")


def test_a_broken_rule_names_key_field_and_rule():
    cache, (_, outcome) = synced(
        {"colocation-config": GOOD}, {"colocation-config": '{"enable": true, "degradeTimeMinutes": 0}'}
    )
    assert cache.colocation_of(NODE).degrade_time_minutes == 15
    assert outcome.problems[0].message == (
        "colocation-config: degradeTimeMinutes is 0, must be greater than 0; the configuration before it stays in force"
    )


def test_a_removed_key_goes_back_to_the_default():
    cache, _ = synced({"colocation-config": GOOD}, {})
    assert cache.colocation_of(NODE).cpu_reclaim_threshold_percent == 60


def test_the_same_reading_again_changes_nothing():
    _, (first, second) = synced({"colocation-config": GOOD}, {"colocation-config": GOOD})
    assert (first.colocation, first.slo) == (True, True)
    assert (second.colocation, second.slo) == (False, False)


@pytest.mark.parametrize("order", list(itertools.permutations(["bad", "good", "other"], 3)))
def test_node_slo_is_what_the_last_good_text_says_in_any_order(order):
    texts = {
        "bad": "{",
        "good": '{"clusterStrategy": {"enable": true}, "nodeStrategies": [{"nodeSelector": {"matchLabels": {"pool": "a"}}}]}',
        "other": '{"clusterStrategy": {"cpuSuppressThresholdPercent": 40}}',
    }
    cache, _ = synced(*({"resource-threshold-config": texts[name]} for name in order))
    last_good = next(name for name in reversed(order) if name != "bad")
    spec = cache.slo_of(NODE)[0].resource_used_threshold_with_be
    assert (spec.enable, spec.cpu_suppress_threshold_percent) == ((True, 65) if last_good == "good" else (False, 40))


def test_one_bad_key_does_not_stop_the_others():
    cache, (outcome,) = synced(
        {"resource-threshold-config": "{", "cpu-burst-config": '{"clusterStrategy": {"policy": "auto"}}'}
    )
    assert cache.slo_of(NODE)[0].cpu_burst_strategy.policy == "auto"
    assert [one.reason for one in outcome.problems] == ["SLOCfgUnmarshalFailed"]


def test_an_unreadable_bandwidth_spoils_the_system_strategy_of_that_node_only():
    cache, _ = synced({})
    bad = msgspec.convert({"metadata": {"annotations": {"node.koordinator.sh/network-bandwidth": "fast"}}}, Node)
    spec, problem = cache.slo_of(bad)
    assert spec.system_strategy is None
    assert problem.raw == "fast"
    assert cache.slo_of(NODE)[0].system_strategy is not None
