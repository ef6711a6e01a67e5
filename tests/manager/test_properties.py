"""What must hold whatever comes: the formulas' bounds, webhooks that agree with themselves, strategies in any order."""

import copy
import itertools
import json

import msgspec
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from koordinator.api.config import ClusterColocationProfile
from koordinator.api.core import Node, Pod, PriorityClass
from koordinator.api.quota import ElasticQuota
from koordinator.api.slo import NodeMetricStatus
from koordinator.api.sloconfig.colocation import ColocationStrategy
from koordinator.manager.config import ConfigCache
from koordinator.manager.overcommit import batch, inputs, mid
from koordinator.manager.webhooks.pods.devices import complete_devices
from koordinator.manager.webhooks.pods.extended import write_extended_spec
from koordinator.manager.webhooks.pods.profiles import Surroundings, apply_profiles, compile_profile, matching
from koordinator.manager.webhooks.pods.validate import Review, denial
from koordinator.manager.webhooks.quotas.rules import Rules
from koordinator.manager.webhooks.quotas.topology import Denied, Topology, fill_defaults

# --- overcommit: never more than the formula, whatever is reported -----------------------------------------------------------

odd = st.sampled_from(["0", "1", "16", "1500m", "-4", "NaN", "1e30", "99E", "", "x", "64Gi", "-1Gi", "0.0001"])
amounts = st.dictionaries(st.sampled_from(["cpu", "memory"]), odd)
bands = st.sampled_from(["", "koord-prod", "koord-mid", "koord-batch", "koord-free", "nonsense"])
percents = st.integers(0, 250) | st.none()
strategies = st.builds(
    ColocationStrategy,
    enable=st.just(value=True),
    cpu_reclaim_threshold_percent=percents,
    memory_reclaim_threshold_percent=percents,
    cpu_calculate_policy=st.sampled_from([None, "usage", "maxUsageRequest", "nonsense"]),
    memory_calculate_policy=st.sampled_from([None, "usage", "request", "maxUsageRequest"]),
    batch_cpu_threshold_percent=percents,
    batch_memory_threshold_percent=percents,
    mid_cpu_threshold_percent=st.integers(0, 100) | st.none(),
    mid_memory_threshold_percent=st.integers(0, 100) | st.none(),
    mid_unallocated_percent=st.integers(0, 100) | st.none(),
    mid_reclaim_mode=st.sampled_from([None, "static"]),
    mid_static_cpu_reserved_percent=percents,
)


@st.composite
def nodes(draw):
    annotations = draw(
        st.sampled_from([{}, {"node.koordinator.sh/reservation": '{"resources":'}])
        | st.builds(
            lambda found: {"node.koordinator.sh/reservation": json.dumps({"resources": found})},
            st.dictionaries(st.sampled_from(["cpu", "memory"]), odd),
        )
    )
    status = {"capacity": draw(amounts | st.none()), "allocatable": draw(amounts | st.none())}
    return msgspec.convert({"metadata": {"name": "n", "annotations": annotations}, "status": status}, Node)


@st.composite
def pods(draw):
    containers = [{"name": "c", "resources": {"requests": draw(amounts)}}]
    labels = {"koordinator.sh/qosClass": draw(st.sampled_from(["LSE", "LSR", "LS", "BE", "?"]))}
    phase = draw(st.sampled_from(["Running", "Pending", "Succeeded", ""]))
    spec = {"nodeName": "n", "priority": draw(st.sampled_from([None, 0, 9500, 7500, 5500, 3500])), "containers": containers}
    metadata = {"namespace": "ns", "name": draw(st.sampled_from("abcd")), "labels": labels}
    return msgspec.convert({"metadata": metadata, "spec": spec, "status": {"phase": phase}}, Pod)


@st.composite
def reports(draw):
    used = [
        {"namespace": "ns", "name": name, "priority": draw(bands), "podUsage": {"resources": draw(amounts)}}
        for name in draw(st.lists(st.sampled_from("abcde"), unique=True))
    ]
    node = {"systemUsage": {"resources": draw(amounts)}, "nodeUsage": {"resources": draw(amounts)}}
    hosts = [{"name": "h", "priority": draw(bands), "usage": {"resources": draw(amounts)}}]
    predicted = {"resource": {"resources": draw(amounts)}}
    status = {"updateTime": "2026-01-01T00:00:00Z", "podsMetric": used, "hostApplicationMetric": hosts}
    whole = {**status, "nodeMetric": draw(st.none() | st.just(node)), "prodReclaimableMetric": predicted}
    return msgspec.convert(whole, NodeMetricStatus)


@given(nodes(), st.lists(pods(), max_size=4), reports(), strategies)
@settings(max_examples=300)
def test_batch_never_exceeds_what_the_formula_allows(node, pod_list, report, strategy):
    seen = inputs.reported(report)
    shares = {share.key: share for share in map(inputs.pod_share, pod_list)}.values()
    share = inputs.node_share(node)
    row = inputs.demand_row(share, shares, seen)
    demand, rules = batch.Demand.of([row]), batch.Rules.of([batch.rule_row(strategy)])
    sold = batch.batch(demand, rules)[0].tolist()
    for column, part in enumerate(batch.explain(demand, rules, 0)):
        by_formula = max(part.capacity - part.margin - part.kept - part.high_priority, 0)
        capped = by_formula
        if part.cap_percent >= 0:
            capped = min(by_formula, int(part.capacity * (part.cap_percent / 100)))
        assert 0 <= sold[column] <= capped
        reclaim = (rules.reclaim_percent[0, column]).item()
        if reclaim <= 100:
            assert sold[column] <= part.capacity
    for key, use in seen.pods.items():  # nothing that is known to be used is sold, whoever it belongs to
        known = [one for one in shares if one.key == key and one.active]
        high = not known and use.band not in inputs.NOT_HIGH
        if high and rules.policy[0, 0] != batch.Policy.REQUEST and batch.rule_row(strategy)[0] <= 100:
            assert sold[0] <= max(share.capacity[0] - use.usage[0], 0)


@given(nodes(), st.lists(pods(), max_size=4), reports(), strategies)
@settings(max_examples=150)
def test_mid_stays_between_nothing_and_its_share_of_the_capacity(node, pod_list, report, strategy):
    share = inputs.node_share(node)
    row = inputs.mid_row(share, list(map(inputs.pod_share, pod_list)), inputs.reported(report))
    rules = mid.mid_rule_row(strategy)
    sold = mid.mid(mid.MidDemand.of([row]), mid.MidRules.of([rules]))[0].tolist()
    for column in (0, 1):
        assert 0 <= sold[column] <= share.capacity[column] * rules[column] / 100 + 1


# --- webhooks agree with themselves ------------------------------------------------------------------------------------------

keys_ = st.sampled_from(["a", "b", "job"])
texts = st.dictionaries(keys_, st.sampled_from(["x", "y"]), max_size=2)
set_texts = st.dictionaries(st.sampled_from(["u", "v"]), st.sampled_from(["x", "y"]), max_size=2)
WELL_FORMED = {"qosClass": "BE", "priorityClassName": "koord-batch"}


@st.composite
def profile_specs(draw):
    """Profiles that name QoS class and priority together.

    By protocol not idempotent, so left out: labelSuffixes, chance, labels that decide whether a profile matches.
    """
    spec = {"selector": {"matchLabels": draw(texts)}, "labels": draw(set_texts), "annotations": draw(texts)}
    if draw(st.booleans()):
        spec |= WELL_FORMED
    if draw(st.booleans()):
        spec["patch"] = {"spec": {"terminationGracePeriodSeconds": draw(st.integers(0, 60))}}
    if draw(st.booleans()):
        spec["labelKeysMapping"] = {"job": "copied"}
    return spec


@st.composite
def plain_pods(draw):
    quantities = st.dictionaries(st.sampled_from(["cpu", "memory"]), st.sampled_from(["1", "2", "100"]))
    gpus = draw(st.sampled_from([{}, {"koordinator.sh/gpu": "100"}, {"koordinator.sh/gpu-core": "50"}]))
    resources = {"requests": {**draw(quantities), **gpus}, "limits": {**draw(quantities), **gpus}}
    spec = {"containers": [{"name": "c", "resources": resources}, {"name": "d", "resources": {}}]}
    if draw(st.booleans()):
        spec["overhead"] = {"cpu": "100m"}
    if draw(st.booleans()):
        spec["initContainers"] = [{"name": "i", "resources": {"limits": draw(quantities)}}]
    return {"metadata": {"name": "p", "namespace": "ns", "labels": draw(texts)}, "spec": spec}


CLASSES = {"koord-batch": PriorityClass(value=5000)}


def mutate(pod, specs):
    """All steps, as at creation."""
    given_profiles = [
        compile_profile(msgspec.convert({"metadata": {"name": f"p{i}"}, "spec": spec}, ClusterColocationProfile))
        for i, spec in enumerate(specs)
    ]
    found = matching(given_profiles, pod["metadata"].get("labels") or {}, {})
    if found:
        apply_profiles(pod, found, Surroundings(CLASSES.get))
    write_extended_spec(pod)
    complete_devices(pod)
    return pod


@given(plain_pods(), st.lists(profile_specs(), max_size=3))
@settings(max_examples=200)
def test_mutation_is_idempotent(pod, specs):
    once = mutate(copy.deepcopy(pod), specs)
    assert mutate(copy.deepcopy(once), specs) == once


@given(plain_pods(), st.lists(profile_specs(), max_size=3))
@settings(max_examples=200)
def test_what_was_valid_is_valid_after_mutation(pod, specs):
    def refusal(body):
        return denial(Review("CREATE", msgspec.convert(body, Pod)))

    # By protocol a best-effort pod without any class counts as batch when a profile matches: its overhead is translated.
    assume("overhead" not in pod["spec"] or {"cpu", "memory"} & set(pod["spec"]["containers"][0]["resources"]["requests"]))
    if not refusal(pod):
        assert not refusal(mutate(pod, specs))


names = st.sampled_from("abc")
numbers = st.dictionaries(st.sampled_from(["cpu", "memory"]), st.sampled_from(["1", "2", "8"]))


@st.composite
def quotas(draw, name):
    prefix = "quota.scheduling.koordinator.sh/"
    labels = {prefix + "is-parent": draw(st.sampled_from(["true", "false"]))}
    if parent := draw(st.sampled_from(["", *"abc"])):
        labels[prefix + "parent"] = parent
    if draw(st.booleans()):
        labels[prefix + "tree-id"] = draw(st.sampled_from(["t", "u"]))
    upper = draw(numbers)
    weight = {prefix + "shared-weight": json.dumps(draw(numbers))} if draw(st.booleans()) else {}
    metadata = {"name": name, "namespace": "ns", "labels": labels, "annotations": weight}
    return {"metadata": metadata, "spec": {"max": upper, "min": dict.fromkeys(upper, "1")}}


class NoPods:
    def labelled(self, _):
        return []

    def any_in(self, _):
        return False


def accepted(topology, body):
    try:
        Rules(copy.deepcopy(topology), NoPods(), frozenset()).create(msgspec.convert(body, ElasticQuota))
    except Denied:
        return False
    return True


@given(st.permutations("abc").flatmap(lambda order: st.tuples(*(quotas(name) for name in order))))
@settings(max_examples=200)
def test_a_quota_that_is_valid_stays_so_when_defaults_are_filled_in_and_filling_in_is_idempotent(bodies):
    topology = Topology()
    for body in bodies:
        valid = accepted(topology, body)
        try:
            fill_defaults(topology, body, msgspec.convert(body, ElasticQuota))
        except Denied:
            assert not valid
            continue
        again = copy.deepcopy(body)
        fill_defaults(topology, again, msgspec.convert(again, ElasticQuota))
        assert again == body
        assert accepted(topology, body) or not valid
        if accepted(topology, body):
            Rules(topology, NoPods(), frozenset()).create(msgspec.convert(body, ElasticQuota))


# --- NodeSLO: defaults, cluster and node strategies laid over each other, whatever came before -------------------------------

THRESHOLDS = ("cpuSuppressThresholdPercent", "memoryEvictThresholdPercent", "cpuEvictBESatisfactionLowerPercent")
fields = st.dictionaries(st.sampled_from(THRESHOLDS), st.integers(0, 99))
DEFAULTS = {
    "enable": False,
    "cpuSuppressThresholdPercent": 65,
    "cpuSuppressPolicy": "cpuset",
    "memoryEvictThresholdPercent": 70,
    "cpuEvictPolicy": "evictByRealLimit",
}
pools = st.sampled_from(["a", "b"])


@st.composite
def threshold_configs(draw):
    """(the text or None, the cluster's fields, the nodes' fields by pool)"""
    if draw(st.integers(0, 5)) == 0:
        return None, {}, {}
    cluster = draw(fields)
    own = {pool: draw(fields) for pool in draw(st.lists(pools, unique=True))}
    entries = [{"name": pool, "nodeSelector": {"matchLabels": {"pool": pool}}, **given_} for pool, given_ in own.items()]
    return json.dumps({"clusterStrategy": cluster, "nodeStrategies": entries}), cluster, own


@given(st.lists(threshold_configs(), min_size=1, max_size=4), st.booleans(), pools)
@settings(max_examples=100)
def test_a_nodes_strategy_is_the_overlay_whatever_came_before(history, broken_in_between, pool):
    cache = ConfigCache()
    for text, _, _ in history:
        cache.sync({} if text is None else {"resource-threshold-config": text})
        if broken_in_between:
            cache.sync({"resource-threshold-config": '{"clusterStrategy":'})
    _, cluster, own = history[-1]
    node = msgspec.convert({"metadata": {"name": "n", "labels": {"pool": pool}}}, Node)
    found = msgspec.to_builtins(cache.slo_of(node)[0])["resourceUsedThresholdWithBE"]
    assert found == {**DEFAULTS, **cluster, **own.get(pool, {})}


KEYS = {
    "resource-threshold-config": '{"clusterStrategy": {"enable": true}}',
    "cpu-burst-config": '{"clusterStrategy": {"policy": "auto"}}',
    "system-config": '{"clusterStrategy": {"minFreeKbytesFactor": 7}}',
    "colocation-config": '{"enable": true}',
}


def test_keys_may_come_in_any_order():
    node = msgspec.convert({"metadata": {"name": "n"}}, Node)
    found = set()
    for order in itertools.permutations(KEYS):
        cache, data = ConfigCache(), {}
        for key in order:
            data[key] = KEYS[key]
            cache.sync(dict(data))
        found.add(msgspec.json.encode(cache.slo_of(node)[0], order="deterministic"))
    assert len(found) == 1
