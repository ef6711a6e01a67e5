"""Configuration files: what is read, what is refused and how it is said."""

import contextlib
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.errors import ConfigInvalid, Unavailable
from koordinator.scheduler.catalogue import built_in
from koordinator.scheduler.config.multipoint import with_default_prebind, with_defaults
from koordinator.scheduler.config.read import read, read_file
from koordinator.scheduler.config.types import PluginRef, Plugins, PluginSet
from koordinator.scheduler.config.write import as_yaml
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.profiles import expand, make_profiles, shipped_configuration

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
CATALOGUE = built_in()


def config(body):
    return read(HEAD + body, CATALOGUE)


def profile(plugins="", plugin_config=""):
    return config(f"profiles:\n- schedulerName: s\n  plugins: {plugins or '{}'}\n  pluginConfig: {plugin_config or '[]'}\n")


def args(name, text):
    return profile(plugin_config=f"[{{name: {name}, args: {text}}}]").args[0][name]


def test_an_empty_configuration_is_kube_schedulers():
    found = config("").configuration
    assert [one.scheduler_name for one in found.profiles] == ["default-scheduler"]
    assert (found.parallelism, found.pod_initial_backoff_seconds, found.pod_max_backoff_seconds) == (16, 1, 10)
    assert found.leader_election.lease_duration == "15s"


@pytest.mark.parametrize("version", ["v1beta2", "v1beta3"])
def test_old_versions_are_read_with_a_warning(version, caplog):
    with caplog.at_level(logging.WARNING):
        read(HEAD.replace("/v1\n", f"/{version}\n"), CATALOGUE)
    assert f"apiVersion kubescheduler.config.k8s.io/{version} is old" in caplog.text


BROKEN = {
    "podInitialBackoffSeconds: 0": "podInitialBackoffSeconds is 0, must be greater than 0",
    "podMaxBackoffSeconds: 0": "podMaxBackoffSeconds is 0, must be greater than or equal to PodInitialBackoffSeconds",
    "parallelism: -1": "parallelism is -1, should be an integer value greater than zero",
    "parallelism: many": "parallelism is 'many', is of the wrong type: Expected `int`, got `str`",
    "percentageOfNodesToScore: 101": r"percentageOfNodesToScore is 101, not in valid range \[0-100\]",
    "leaderElection: {leaseDuration: 5s}": "leaderElection.leaseDuration is '5s', must be greater than renewDeadline",
    "leaderElection: {renewDeadline: 2s}": "leaderElection.renewDeadline is '2s', must be greater than 1.2",
    "leaderElection: {retryPeriod: soon}": "leaderElection.retryPeriod is 'soon', must be a duration such as 30s",
    "leaderElection: {resourceLock: endpoints}": "leaderElection.resourceLock is 'endpoints', must be leases",
    "profiles: []": "profiles is .*, must have at least one profile",
    "profiles: [{schedulerName: a}, {schedulerName: a}]": r"profiles\[1\].schedulerName is 'a', is the same as",
    "profiles: [{schedulerName: ''}]": r"profiles\[0\].schedulerName is '', must not be empty",
    "profiles: [{schedulrName: a}]": r"profiles\[0\].schedulrName is 'a', is not a known field",
    "profiles: [{plugins: {filter: {enabled: [{name: Nope}]}}}]": r"profiles\[0\].plugins.filter.enabled\[0\].name is 'Nope', "
    'filter plugin "Nope" does not exist',
    "profiles: [{plugins: {score: {enabled: [{name: NodeName}, {name: NodeName}]}}}]": "already registered",
    "profiles: [{pluginConfig: [{name: NodeAffinity}, {name: NodeAffinity}]}]": r"profiles\[0\].pluginConfig\[1\].name is "
    "'NodeAffinity', stands twice",
    "profiles: [{pluginConfig: [{name: Who}]}]": r"profiles\[0\].pluginConfig\[0\].name is 'Who', is not a plugin that we know",
    "profiles: [{pluginConfig: [{name: LoadAwareScheduling, args: {usageThresholds: {cpu: 120}}}]}]": (
        r"profiles\[0\].pluginConfig\[0\].args.usageThresholds\[cpu\] is 120, must be 0 to 100"
    ),
    "profiles: [{pluginConfig: [{name: LoadAwareScheduling, args: {aggregated: {typo: 1}}}]}]": (
        r"profiles\[0\].pluginConfig\[0\].args.aggregated.typo is 1, is not a known field"
    ),
    "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {kind: OtherArgs}}]}]": (
        "args for plugin NodeResourcesFit were not of type kubescheduler.config.k8s.io/v1, Kind=NodeResourcesFitArgs, "
        "got kubescheduler.config.k8s.io/v1, Kind=OtherArgs"
    ),
    "profiles: [{pluginConfig: [{name: Coscheduling, args: {controllerWorkers: 0}}]}]": (
        r"profiles\[0\].pluginConfig\[0\].args.controllerWorkers is 0, must be 1 or more"
    ),
    "extenders: [{}]": r"extenders\[0\].urlPrefix is '', must not be empty",
    "extenders: [{urlPrefix: 'http://x', prioritizeVerb: p}]": r"extenders\[0\].weight is 0, must be a positive number",
    "extenders: [{urlPrefix: x, bindVerb: b}, {urlPrefix: y, bindVerb: b}]": "only one extender can implement bind",
    "a: 1\na: 2": "line 4, column 1 is 'a: 2', field 'a' stands twice",
    "profiles: [": "configuration, line",
}


@pytest.mark.parametrize("body", BROKEN)
def test_every_refusal_names_field_value_and_rule(body):
    with pytest.raises(ConfigInvalid, match=BROKEN[body]):
        config(body)


@pytest.mark.parametrize(
    ("text", "where"),
    [("{}", "apiVersion"), ("kind: X", "apiVersion"), ("[1]", "configuration"), ("apiVersion: v1", "apiVersion")],
)
def test_what_is_no_configuration_is_refused(text, where):
    with pytest.raises(ConfigInvalid) as caught:
        read(text, CATALOGUE)
    assert caught.value.where == where


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(Unavailable, match="No such file"):
        read_file(tmp_path / "none.yaml", CATALOGUE)


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text):
    with contextlib.suppress(ConfigInvalid):
        read(text, CATALOGUE)


def test_defaults_are_filled_in_for_plugins_without_an_entry():
    found = profile().args[0]
    assert [(one.name, one.weight) for one in found["NodeResourcesFit"].scoring_strategy.resources] == [
        ("cpu", 1),
        ("memory", 1),
    ]
    assert found["LoadAwareScheduling"].usage_thresholds == {"cpu": 65, "memory": 95}
    assert found["DefaultPreemption"].min_candidate_nodes_percentage == 10
    assert found["ElasticQuota"].default_quota_group_max["cpu"] == "1844674407370955161"


def test_null_is_absent_and_zero_is_not():
    assert args("LoadAwareScheduling", "{nodeMetricExpirationSeconds: null}").node_metric_expiration_seconds == 180
    assert args("DefaultPreemption", "{minCandidateNodesPercentage: 0}").min_candidate_nodes_percentage == 0


# --- which plugins run where -------------------------------------------------------------------------------------------


def points(text):
    return expand(profile(text).configuration.profiles[0], CATALOGUE, "profiles[0]")


def test_the_native_defaults_run_where_they_can():
    found = points("{}")
    assert found.points["queue_sort"] == ["PrioritySort"]
    assert found.points["bind"] == ["DefaultBinder"]
    assert found.points["pre_bind"][-1:] == ["DefaultPreBind"]
    assert (found.weights["TaintToleration"], found.weights["NodeAffinity"], found.weights["NodeResourcesFit"]) == (3, 2, 1)


def test_a_specific_list_orders_and_weighs_what_multipoint_enables():
    found = points("{score: {enabled: [{name: LoadAwareScheduling}, {name: NodeAffinity, weight: 7}]}}")
    assert found.points["score"][0] == "NodeAffinity"
    assert found.points["score"][-1] == "LoadAwareScheduling"
    assert found.weights["NodeAffinity"] == 7


def test_a_star_takes_all_defaults_away_at_that_point():
    found = points("{postFilter: {disabled: [{name: '*'}]}, filter: {disabled: [{name: NodeAffinity}]}}")
    assert found.points["post_filter"] == []
    assert "NodeAffinity" not in found.points["filter"]
    assert "NodeAffinity" in found.points["score"]


def test_where_all_defaults_are_taken_away_the_list_is_the_order():
    """Reservation before DefaultBinder, say: the shipped profile goes by this."""
    ours = "[{name: LoadAwareScheduling}, {name: NodeAffinity}]"
    found = points(f"{{score: {{disabled: [{{name: '*'}}], enabled: {ours}}}}}")
    assert found.points["score"] == ["LoadAwareScheduling", "NodeAffinity"]
    found = points(f"{{score: {{disabled: [{{name: NodeAffinity}}], enabled: {ours}}}}}")
    assert found.points["score"][-2:] == ["LoadAwareScheduling", "NodeAffinity"]


def test_plugins_are_refused_where_they_do_not_run_and_a_profile_needs_a_binder():
    with pytest.raises(ConfigInvalid, match='plugin "PrioritySort" does not extend filter plugin'):
        points("{filter: {enabled: [{name: PrioritySort}]}}")
    with pytest.raises(ConfigInvalid, match=r"profiles\[0\].plugins.bind is \[\], must be at least one plugin"):
        points("{bind: {disabled: [{name: '*'}]}}")


def test_plugins_that_are_not_there_yet_are_accepted_with_a_warning(caplog):
    reading = profile("{filter: {enabled: [{name: DeviceShare}]}}")
    handle = Handle(Cluster(), None, None, "s")
    make_profiles(reading.configuration, CATALOGUE, [handle])
    assert "plugin DeviceShare is not there yet" in caplog.text or "DeviceShare" in CATALOGUE


def test_default_pre_bind_is_added_unless_ruled_out():
    assert [one.name for one in with_default_prebind(Plugins()).pre_bind.enabled] == ["DefaultPreBind"]
    ruled_out = Plugins(pre_bind=PluginSet(disabled=[PluginRef(name="*")]))
    assert with_default_prebind(ruled_out).pre_bind.enabled is None
    assert with_defaults(None).multi_point.enabled[0].name == "SchedulingGates"


def test_every_profile_has_plugins_of_its_own():
    reading = config("profiles: [{schedulerName: a}, {schedulerName: b}]")
    cluster = Cluster()
    one, other = make_profiles(reading.configuration, CATALOGUE, [Handle(cluster, None, None, name) for name in "ab"])
    assert one.plugins["NodeResourcesFit"] is not other.plugins["NodeResourcesFit"]
    assert (one.name, other.name) == ("a", "b")


def test_what_is_written_reads_back_the_same():
    configuration = shipped_configuration(["koord-scheduler"])
    first = read(as_yaml(config("")), CATALOGUE)
    again = read(as_yaml(first), CATALOGUE)
    assert again.args == first.args
    assert expand(again.configuration.profiles[0], CATALOGUE) == expand(first.configuration.profiles[0], CATALOGUE)
    assert configuration.profiles[0].scheduler_name == "koord-scheduler"


SHIPPED = """
leaderElection: {leaderElect: true, resourceLock: leases, resourceName: koord-scheduler, resourceNamespace: koordinator-system}
profiles:
- schedulerName: koord-scheduler
  pluginConfig:
  - name: NodeResourcesFit
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: NodeResourcesFitArgs
      scoringStrategy:
        type: LeastAllocated
        resources:
        - {name: cpu, weight: 1}
        - {name: memory, weight: 1}
        - {name: kubernetes.io/batch-cpu, weight: 1}
        - {name: kubernetes.io/batch-memory, weight: 1}
  - name: LoadAwareScheduling
    args:
      filterExpiredNodeMetrics: false
      nodeMetricExpirationSeconds: 300
      resourceWeights: {cpu: 1, memory: 1}
      usageThresholds: {cpu: 65, memory: 95}
      estimatedScalingFactors: {cpu: 85, memory: 70}
  - name: ElasticQuota
    args: {quotaGroupNamespace: koordinator-system}
  plugins:
    queueSort: {disabled: [{name: "*"}], enabled: [{name: PrioritySort}]}
    preFilter:
      enabled: [{name: SchedulingHint}, {name: Reservation}, {name: NodeNUMAResource}, {name: Coscheduling}]
    filter: {enabled: [{name: LoadAwareScheduling}, {name: NodeNUMAResource}, {name: DeviceShare}, {name: Reservation}]}
    postFilter:
      disabled: [{name: "*"}]
      enabled: [{name: Reservation}, {name: Coscheduling}, {name: ElasticQuota}, {name: DefaultPreemption}]
    score:
      enabled: [{name: LoadAwareScheduling, weight: 1}, {name: Reservation, weight: 5000}, {name: Coscheduling, weight: 1}]
    reserve: {enabled: [{name: Reservation}, {name: Coscheduling}]}
    permit: {enabled: [{name: Coscheduling}]}
    preBind: {enabled: [{name: NodeNUMAResource}, {name: DefaultPreBind}]}
    bind: {disabled: [{name: "*"}], enabled: [{name: Reservation}, {name: DefaultBinder}]}
    postBind: {enabled: [{name: Coscheduling}]}
"""


def test_a_charts_configuration_runs_as_it_is():
    reading = config(SHIPPED)
    made = make_profiles(reading.configuration, CATALOGUE, [Handle(Cluster(), None, None, "koord-scheduler")])[0]
    assert [plugin.name for plugin in made.post_filters][-1] == "DefaultPreemption"
    assert [plugin.name for plugin in made.binds][-1] == "DefaultBinder"
    assert made.queue_sort.name == "PrioritySort"
    assert "LoadAwareScheduling" in [plugin.name for plugin in made.filters]
    assert reading.args[0]["LoadAwareScheduling"].usage_thresholds == {"cpu": 65, "memory": 95}
    assert len(made.patchers) == 1
