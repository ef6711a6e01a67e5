"""Wrong arguments of every plugin that takes any: the error names the field with its path, the value and the rule."""

import re

import pytest

from koordinator.errors import ConfigInvalid
from koordinator.scheduler.catalogue import built_in
from koordinator.scheduler.config.args import KINDS
from koordinator.scheduler.config.read import read

CATALOGUE = built_in()
WITH_ARGS = sorted(KINDS | {name: entry for name, entry in CATALOGUE.items() if entry.args is not None})
HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
AFFINITY = "{addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: %s}}}"
TERMS = "addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
PREFERRED = "{addedAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: %s, preference: {}}]}}"
RATIO = "{scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: %s}}}"
SHAPE = "scoringStrategy.requestedToCapacityRatio.shape"

BROKEN = [
    ("NodeResourcesFit", "{scoringStrategy: {type: Best}}", "scoringStrategy.type", "must be one of LeastAllocated"),
    (
        "NodeResourcesFit",
        "{scoringStrategy: {resources: [{name: cpu, weight: 101}]}}",
        "scoringStrategy.resources[0].weight",
        "1 to 100",
    ),
    ("NodeResourcesFit", "{scoringStrategy: {resources: [{weight: 1}]}}", "scoringStrategy.resources[0].name", "not be empty"),
    ("NodeResourcesFit", RATIO % "[]", SHAPE, "at least one point"),
    ("NodeResourcesFit", RATIO % "[{utilization: 101, score: 1}]", f"{SHAPE}[0].utilization", "0 to 100"),
    ("NodeResourcesFit", RATIO % "[{utilization: 1, score: 11}]", f"{SHAPE}[0].score", "0 to 10"),
    ("NodeResourcesFit", RATIO % "[{utilization: 9}, {utilization: 9}]", f"{SHAPE}[1].utilization", "above the one before"),
    ("NodeResourcesFit", "{ignoredResources: [cpu]}", "ignoredResources[0]", "an extended resource name"),
    ("NodeResourcesFit", "{ignoredResourceGroups: [a/b]}", "ignoredResourceGroups[0]", "can't contain '/'"),
    ("NodeResourcesBalancedAllocation", "{resources: [{name: cpu, weight: 2}]}", "resources[0].weight", "must be 1"),
    ("NodeAffinity", AFFINITY % "[]", TERMS, "at least one term"),
    (
        "NodeAffinity",
        AFFINITY % "[{matchExpressions: [{key: a, operator: Is}]}]",
        f"{TERMS}[0].matchExpressions[0].operator",
        "In, NotIn",
    ),
    (
        "NodeAffinity",
        AFFINITY % "[{matchExpressions: [{key: a, operator: In}]}]",
        f"{TERMS}[0].matchExpressions[0].values",
        "some values",
    ),
    (
        "NodeAffinity",
        AFFINITY % "[{matchFields: [{key: a, operator: In, values: [b]}]}]",
        f"{TERMS}[0].matchFields[0].key",
        "metadata.name",
    ),
    ("NodeAffinity", PREFERRED % 0, "addedAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight", "1 to 100"),
    ("InterPodAffinity", "{hardPodAffinityWeight: 101}", "hardPodAffinityWeight", "0 to 100"),
    ("PodTopologySpread", "{defaultingType: None}", "defaultingType", "System or List"),
    (
        "PodTopologySpread",
        "{defaultConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule}]}",
        "defaultConstraints",
        "must be empty",
    ),
    (
        "PodTopologySpread",
        "{defaultingType: List, defaultConstraints: [{maxSkew: 0, topologyKey: a, whenUnsatisfiable: DoNotSchedule}]}",
        "defaultConstraints[0].maxSkew",
        "1 or more",
    ),
    (
        "PodTopologySpread",
        "{defaultingType: List, defaultConstraints: [{maxSkew: 1, whenUnsatisfiable: DoNotSchedule}]}",
        "defaultConstraints[0]",
        "missing required field `topologyKey`",
    ),
    ("VolumeBinding", "{bindTimeoutSeconds: -1}", "bindTimeoutSeconds", "0 or more"),
    ("DynamicResources", "{filterTimeout: soon}", "filterTimeout", "duration"),
    ("DefaultPreemption", "{minCandidateNodesPercentage: 101}", "minCandidateNodesPercentage", "0 to 100"),
    ("DefaultPreemption", "{minCandidateNodesAbsolute: -1}", "minCandidateNodesAbsolute", "0 or more"),
    (
        "DefaultPreemption",
        "{minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0}",
        "minCandidateNodesPercentage",
        "not be 0 when",
    ),
    ("NodeNUMAResource", "{defaultCPUBindPolicy: Anywhere}", "defaultCPUBindPolicy", "FullPCPUs or SpreadByPCPUs"),
    ("NodeNUMAResource", "{numaScoringStrategy: {type: Best}}", "numaScoringStrategy.type", "must be one of"),
    (
        "DeviceShare",
        "{scoringStrategy: {resources: [{name: a, weight: -1}]}}",
        "scoringStrategy.resources[0].weight",
        "1 to 100",
    ),
    ("Reservation", "{gcDurationSeconds: -1}", "gcDurationSeconds", "0 or more"),
    ("Reservation", "{ignoredResources: [memory]}", "ignoredResources[0]", "an extended resource name"),
    ("Reservation", "{ignoredResourceGroups: [kubernetes.io]}", "ignoredResourceGroups[0]", "prefix of extended resources"),
    ("ElasticQuota", "{delayEvictTime: -1s}", "delayEvictTime", "0 or more"),
    ("ElasticQuota", "{defaultQuotaGroupMax: {cpu: -1}}", "defaultQuotaGroupMax[cpu]", "quantity of 0 or more"),
    ("Coscheduling", "{defaultTimeout: -1s}", "defaultTimeout", "0 or more"),
    ("Coscheduling", "{defaultMatchPolicy: never}", "defaultMatchPolicy", "once-satisfied"),
    ("LoadAwareScheduling", "{nodeMetricExpirationSeconds: 0}", "nodeMetricExpirationSeconds", "positive"),
    ("LoadAwareScheduling", "{resourceWeights: {cpu: 101}}", "resourceWeights[cpu]", "1 to 100"),
    ("LoadAwareScheduling", "{aggregated: {usageAggregationType: p42}}", "aggregated.usageAggregationType", "p50"),
    ("NodeResourcesFitPlus", "{resources: {cpu: {weight: -1}}}", "resources[cpu].weight", "0 or more"),
    ("NodeResourcesFitPlus", "{resources: {cpu: {type: Best}}}", "resources[cpu].type", "LeastAllocated"),
    ("DeviceShare", "{scoringStrategy: {resources: [{name: a/b}]}}", "scoringStrategy.resources[0].weight", "1 to 100"),
    ("ScarceResourceAvoidance", "{resources: [pods]}", "resources[0]", "qualified name"),
    ("SchedulingHint", "{maxHintNodes: 0}", "maxHintNodes", "above 0"),
]


def refusal(plugin, args):
    with pytest.raises(ConfigInvalid) as caught:
        read(f"{HEAD}profiles: [{{pluginConfig: [{{name: {plugin}, args: {args}}}]}}]\n", CATALOGUE)
    return caught.value


@pytest.mark.parametrize(("plugin", "args", "field", "rule"), BROKEN)
def test_the_field_the_value_and_the_rule_are_named(plugin, args, field, rule):
    said = refusal(plugin, args)
    assert said.where.startswith(f"profiles[0].pluginConfig[0].args.{field}")
    assert rule in str(said)


def test_no_kind_of_arguments_is_forgotten():
    assert sorted({plugin for plugin, *_ in BROKEN}) == WITH_ARGS


@pytest.mark.parametrize("plugin", WITH_ARGS)
@pytest.mark.parametrize("args", ["{noSuchField: 1}", "[1]", "fast", "{kind: OtherArgs}", "{apiVersion: v9}"])
def test_what_no_arguments_are_like_is_refused_for_every_plugin(plugin, args):
    said = refusal(plugin, args)
    assert said.where.startswith("profiles[0].pluginConfig[0].args")
    assert re.search(r"not a known field|wrong type|were not of type", str(said))
