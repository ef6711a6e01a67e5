import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api.annotations import Malformed
from koordinator.api.sloconfig import colocation, nodeslo, ratios
from koordinator.api.sloconfig.resolve import colocation_for_node, resolve_colocation
from koordinator.api.sloconfig.validation import Invalid


@pytest.mark.parametrize(
    "text", ["{", "null", "[]", '{"enable":"yes"}', '{"cpuReclaimThresholdPercent":1.5}', '{"nodeConfigs":{}}']
)
def test_what_cannot_be_read_is_malformed_and_names_the_key(text):
    found = resolve_colocation(text)
    assert isinstance(found, Malformed)
    assert found.key == "colocation-config"
    assert found.reason


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"degradeTimeMinutes":0}', "degradeTimeMinutes is 0, must be greater than 0"),
        ('{"midCPUThresholdPercent":101}', "midCPUThresholdPercent is 101, must be 100 or less"),
        ('{"resourceDiffThreshold":-0.5}', "resourceDiffThreshold is -0.5, must be greater than 0"),
    ],
)
def test_a_broken_rule_names_the_field_the_value_and_the_rule(text, problem):
    found = resolve_colocation(text)
    assert isinstance(found, Invalid)
    assert str(found) == f"colocation-config: {problem}"


def test_a_wrong_entry_becomes_the_clusters_strategy_and_shadows_the_next():
    config = resolve_colocation(
        '{"enable":true,"nodeConfigs":['
        '{"name":"bad","nodeSelector":{"matchLabels":{"a":"b"}},"degradeTimeMinutes":0,"enable":false},'
        '{"name":"next","nodeSelector":{"matchLabels":{"a":"b"}},"enable":false}]}'
    )
    assert config.for_labels({"a": "b"}) == config.cluster
    assert [one.name for one in config.overrides] == ["bad", "next"]


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("", False),
        ('"nodeSelector":null,', False),
        ('"nodeSelector":{},', True),
        ('"nodeSelector":{"matchExpressions":[{"key":"a","operator":"Like"}]},', False),
    ],
)
def test_absent_and_wrong_selectors_match_nothing_and_empty_ones_everything(selector, matches):
    config = resolve_colocation('{"nodeConfigs":[{' + selector + '"enable":true}]}')
    assert config.for_labels({"a": "b"}).enable is matches


@pytest.mark.parametrize(
    ("ratio", "percent"),
    [("0.29", 28), ("0.57", 56), ("1.1", 110), ("0", 0), ("-0", 0), ("nan", 60), ("inf", 60), ("1e3", 100_000), (" 0.5", 60)],
)
def test_ratio_labels_are_cut_off_and_left_out_when_unusable(ratio, percent):
    config = resolve_colocation(None)
    strategy = colocation_for_node(config, {"node.koordinator.sh/cpu-reclaim-ratio": ratio}, None)
    assert strategy.cpu_reclaim_threshold_percent == percent


def test_a_malformed_annotation_is_left_out():
    config = resolve_colocation('{"enable":true}')
    assert colocation_for_node(config, None, {"node.koordinator.sh/colocation-strategy": "{"}) == config.cluster


@given(st.text(max_size=40))
def test_no_text_raises(text):
    for resolve in (
        resolve_colocation,
        nodeslo.RESOURCE_QOS.resolve,
        nodeslo.SYSTEM.resolve,
        nodeslo.resolve_host_applications,
        ratios.resolve_normalization,
        ratios.resolve_amplification,
    ):
        resolve(text)


def test_defaults_survive_their_own_text():
    text = msgspec.json.encode(colocation.DEFAULT).decode()
    assert resolve_colocation(text).cluster == colocation.DEFAULT


def test_an_empty_text_is_absent_only_for_colocation():
    assert resolve_colocation("").cluster == colocation.DEFAULT
    assert isinstance(nodeslo.RESOURCE_THRESHOLD.resolve(""), Malformed)


def test_node_applications_replace_the_clusters_even_when_empty():
    config = nodeslo.resolve_host_applications(
        '{"applications":[{"name":"a"}],"nodeConfigs":[{"nodeSelector":{},"applications":[]}]}'
    )
    assert config.for_labels(None).applications == []


def test_an_unreadable_bandwidth_spoils_the_system_strategy():
    config = nodeslo.SYSTEM.resolve(None)
    assert isinstance(nodeslo.system_for_node(config, None, {"node.koordinator.sh/network-bandwidth": "fast"}), Malformed)


def test_models_ratios():
    config = ratios.resolve_normalization(
        '{"enable":true,"ratioModel":{"X":{"baseRatio":1.1,"hyperThreadTurboEnabledRatio":0.9}},"nodeConfigs":'
        '[{"nodeSelector":{},"ratioModel":{"Y":{"baseRatio":1.5}}}]}'
    )
    models = config.for_labels({}).ratio_model
    assert set(models) == {"X", "Y"}
    assert models["X"].of(hyper_threads=True, turbo=True) == 0.9
    assert models["X"].of(hyper_threads=False, turbo=False) == 1.1
    assert models["Y"].of(hyper_threads=False, turbo=True) is None
