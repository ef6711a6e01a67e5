import pytest

from koordinator.api.meta import LabelSelector
from koordinator.api.sloconfig.colocation import NodeColocation
from koordinator.api.sloconfig.review import CONFLICT, OVERLAP, PARAMETER_INVALID, PARSE_FAILED, conflict, overlapping, review


def entry(name, labels):
    return f'{{"name":"{name}","nodeSelector":{{"matchLabels":{labels}}}}}'


def test_the_refusal_names_the_field_and_the_rule():
    refusal = review("colocation-config", {"colocation-config": '{"metricAggregateDurationSeconds":0}'})
    assert refusal.reason == PARAMETER_INVALID
    assert refusal.message == {
        "ColocationCfg.ColocationStrategy.MetricAggregateDurationSeconds": "MetricAggregateDurationSeconds must be 1 or greater"
    }
    assert str(refusal).startswith('___{"reason":"ConfigParamInvalid","message":{')


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("cpu-burst-config", "{", PARSE_FAILED),
        ("colocation-config", '{"nodeConfigs":[{"name":"a"}]}', PARAMETER_INVALID),
        (
            "colocation-config",
            '{"nodeConfigs":[{"nodeSelector":{"matchExpressions":[{"key":"a","operator":"Like"}]}}]}',
            PARAMETER_INVALID,
        ),
        ("resource-threshold-config", '{"clusterStrategy":{"memoryEvictThresholdPercent":70}}', PARAMETER_INVALID),
        ("resource-qos-config", '{"clusterStrategy":{"beClass":{"resctrlQOS":{"catRangeEndPercent":30}}}}', PARAMETER_INVALID),
        ("resource-qos-config", "{}", PARSE_FAILED),
        (
            "system-config",
            '{"nodeStrategies":[{"nodeSelector":{"matchLabels":{"a":"b"}},"minFreeKbytesFactor":0}]}',
            PARAMETER_INVALID,
        ),
    ],
)
def test_refused(key, text, reason):
    assert (
        review(key, {key: text} if key != "resource-qos-config" or text == "{}" else {key: text, "system-config": "{}"}).reason
        == reason
    )


def test_abbreviations_and_partners_are_named_as_clients_know_them():
    text = '{"clusterStrategy":{"beClass":{"resctrlQOS":{"catRangeEndPercent":30}}}}'
    refusal = review("resource-qos-config", {"resource-qos-config": text, "system-config": "{}"})
    assert refusal.message == {
        "ResourceQOSCfg.ClusterStrategy.BEClass.ResctrlQOS.CATRangeEndPercent": (
            "CATRangeEndPercent must be greater than CATRangeStartPercent"
        )
    }


def test_pairs_in_order_are_accepted():
    text = '{"clusterStrategy":{"memoryEvictThresholdPercent":70,"memoryEvictLowerPercent":65}}'
    assert review("resource-threshold-config", {"resource-threshold-config": text}) is None


def test_names_are_needed_only_when_asked_for():
    text = '{"nodeConfigs":[' + entry("", '{"a":"b"}') + "]}"
    assert review("colocation-config", {"colocation-config": text}) is None
    assert review("colocation-config", {"colocation-config": text}, names_needed=True).message == (
        "nodeConfig Name need! configType:colocation-config"
    )
    twice = '{"nodeConfigs":[' + entry("n", '{"a":"b"}') + "," + entry("n", '{"c":"d"}') + "]}"
    assert "confilict" in review("colocation-config", {"colocation-config": twice}, names_needed=True).message


def test_overlaps_name_both_entries():
    text = '{"nodeConfigs":[' + entry("s1", '{"a":"b"}') + "," + entry("s2", '{"a":"b","c":"d"}') + "]}"
    refusal = review("colocation-config", {"colocation-config": text})
    assert refusal.reason == OVERLAP
    assert refusal.message == {"config": "colocation-config", "strategies": ["s1", "s2"]}


def test_many_values_do_not_take_for_ever():
    expressions = [{"key": f"k{i}", "operator": "In", "values": [f"v{j}" for j in range(7 + i)]} for i in range(12)]
    import msgspec

    selector = msgspec.convert({"matchExpressions": expressions}, LabelSelector)
    nodes = [
        NodeColocation(name="a", node_selector=selector),
        NodeColocation(name="b", node_selector=LabelSelector(match_labels={"z": "z"})),
    ]
    assert overlapping(nodes) == ()


def test_a_node_that_two_entries_select_is_named():
    text = '{"nodeConfigs":[' + entry("s1", '{"a":"b"}') + "," + entry("s2", '{"c":"d"}') + "]}"
    nodes = [("n0", {"a": "b"}), ("n1", {"a": "b", "c": "d"})]
    refusal = conflict("colocation-config", text, nodes)
    assert refusal.reason == CONFLICT
    assert refusal.message == {"config": "colocation-config", "strategies": ["s1", "s2"], "exampleNodes": ["n1"]}
    assert conflict("colocation-config", text, nodes[:1]) is None


@pytest.mark.parametrize(
    ("qos", "system", "message"),
    [
        ('{"lsClass":{"networkQOS":{"ingressLimit":-1}}}', "{}", "must be percentage value just in 0-100'"),
        (
            '{"lsClass":{"networkQOS":{"ingressRequest":"20M"}}}',
            '{"clusterStrategy":{"totalNetworkBandwidth":"10M"}}',
            "ClusterStrategy total net bandwidth percentage already over 100",
        ),
        (
            '{"lsClass":{"networkQOS":{"egressRequest":50}}}',
            '{"clusterStrategy":{"totalNetworkBandwidth":"10"}}',
            "total net bandwidth over total network bandwidth in clusterStrategy",
        ),
    ],
)
def test_network_sums(qos, system, message):
    refusal = review("resource-qos-config", {"resource-qos-config": f'{{"clusterStrategy":{qos}}}', "system-config": system})
    assert refusal.message == message


def test_a_node_strategys_bandwidth_is_that_of_the_same_selector():
    selector = '"nodeSelector":{"matchLabels":{"a":"b"}}'
    qos = f'{{"nodeStrategies":[{{{selector},"lsClass":{{"networkQOS":{{"ingressRequest":50}}}}}}]}}'
    enough = f'{{"nodeStrategies":[{{{selector},"totalNetworkBandwidth":"50"}}]}}'
    assert review("resource-qos-config", {"resource-qos-config": qos, "system-config": enough}) is None
    refusal = review("resource-qos-config", {"resource-qos-config": qos, "system-config": "{}"})
    assert refusal.message == "total net bandwidth quantity already over total network bandwidth in cfg.NodeStrategies[0]"
