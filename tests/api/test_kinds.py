"""Custom resources and their annotations beyond what the schema says."""

import msgspec
import pytest

from koordinator.api import deviceshare, explanation, keys, migration, nodes, podqos, quota, reservation, scheduling
from koordinator.api.annotations import Malformed
from koordinator.api.meta import ObjectMeta
from koordinator.api.reservation import Reservation, ReservationOwner, ReservationSpec


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (ReservationSpec(), "template"),
        (ReservationSpec(template={"spec": {}}), "owner"),
        (ReservationSpec(template={"spec": {}}, owners=[ReservationOwner()]), "expiration"),
        (ReservationSpec(template={"spec": {}}, owners=[ReservationOwner()], ttl="0s"), ""),
    ],
)
def test_what_makes_a_reservation_unusable(spec, problem):
    assert problem in Reservation(spec=spec).problem
    assert bool(problem) is bool(Reservation(spec=spec).problem)


def test_a_reservation_allocates_once_unless_told_otherwise():
    assert Reservation().allocates_once
    assert not Reservation(spec=ReservationSpec(allocate_once=False)).allocates_once


def test_an_empty_affinity_asks_for_any_reservation():
    assert reservation.AFFINITY.read({keys.RESERVATION_AFFINITY: ""}) == reservation.ReservationAffinity()
    assert reservation.AFFINITY.read({}) is None


def test_exact_match_ends_at_the_first_name_that_both_lack():
    assert reservation.matches_exactly({"cpu": 1}, {"cpu": 2}, None)
    assert reservation.matches_exactly({"cpu": 1}, {"cpu": 2}, ["gpu", "cpu"])
    assert not reservation.matches_exactly({"cpu": 1}, {"cpu": 2}, ["cpu", "gpu"])


def test_partitions_are_keyed_by_count_and_never_null():
    read = deviceshare.GPU_PARTITIONS.read
    assert list(read({keys.GPU_PARTITIONS: '{"2":[{"minors":[0,1]}]}'})) == [2]
    assert isinstance(read({keys.GPU_PARTITIONS: "null"}), Malformed)
    assert isinstance(read({keys.GPU_PARTITIONS: '{"two":[]}'}), Malformed)
    assert read({keys.GPU_PARTITIONS: ""}) is None


def test_allocations_always_carry_minor_and_resources():
    assert deviceshare.DEVICE_ALLOCATED.write({"gpu": [deviceshare.Allocation()]}) == '{"gpu":[{"minor":0,"resources":null}]}'


def test_the_new_hint_key_hides_the_old_one_even_when_malformed():
    both = {keys.SCHEDULING_HINT: "{", keys.DEPRECATED_SCHEDULING_HINT: "{}"}
    assert isinstance(scheduling.scheduling_hint(both), Malformed)
    assert scheduling.scheduling_hint({keys.DEPRECATED_SCHEDULING_HINT: '{"nodeNames":["n"]}'}).node_names == ["n"]
    assert scheduling.scheduling_hint({}) is None


@pytest.mark.parametrize(
    ("annotations", "adjustment"),
    [
        ({}, None),
        ({keys.OOM_SCORE_ADJ: "100"}, 100),
        ({keys.OOM_SCORE_ADJ: ""}, None),
        ({keys.OOM_SCORE_ADJ_SPEC: '{"main":-5}', keys.OOM_SCORE_ADJ: "100"}, -5),
        ({keys.OOM_SCORE_ADJ_SPEC: "", keys.OOM_SCORE_ADJ: "100"}, 100),
        ({keys.OOM_SCORE_ADJ_SPEC: "{", keys.OOM_SCORE_ADJ: "100"}, Malformed),
        ({keys.OOM_SCORE_ADJ: "1.5"}, Malformed),
    ],
)
def test_oom_score_adjustment(annotations, adjustment):
    found = podqos.oom_score_adj(annotations, "main")
    assert isinstance(found, Malformed) if adjustment is Malformed else found == adjustment


def test_third_party_allocations_add_up_and_are_replaced_by_name():
    one = nodes.ThirdPartyAllocation(name="yarn", priority="koord-batch", resources={"kubernetes.io/batch-cpu": "1k"})
    other = nodes.ThirdPartyAllocation(name="x", priority="koord-batch", resources={"kubernetes.io/batch-cpu": "500"})
    both = nodes.with_allocation(nodes.with_allocation(nodes.ThirdPartyAllocations(), one), other)
    assert {name: amount.value for name, amount in nodes.third_party_sum(both, "koord-batch").items()} == {
        "kubernetes.io/batch-cpu": 1500
    }
    smaller = nodes.ThirdPartyAllocation(name="yarn", priority="koord-batch", resources={})
    assert [len(one.resources) for one in nodes.with_allocation(both, smaller).allocations] == [0, 1]


@pytest.mark.parametrize(("text", "ratio"), [("1.20", 1.2), ("0", None), ("-1", None), ("nan", None), ("inf", None)])
def test_normalization_ratio(text, ratio):
    found = nodes.normalization_ratio({keys.CPU_NORMALIZATION_RATIO: text})
    assert isinstance(found, Malformed) if ratio is None else found == ratio


def test_ratios_are_written_with_two_decimals():
    assert nodes.write_normalization_ratio(1.005) == "1.00"
    assert nodes.write_amplification_ratios({"memory": 1.2, "cpu": 1.5}) == '{"cpu":1.50,"memory":1.20}'
    assert not nodes.ratios_differ(1.2, 1.21)
    assert nodes.ratios_differ(1.2, 1.22)


@pytest.mark.parametrize(
    ("text", "weight"), [(None, "10"), ("{", "10"), ('{"cpu":"0"}', "10"), ('{"cpu":"3"}', "3"), ("", "10")]
)
def test_shared_weight_falls_back_to_max(text, weight):
    annotations = None if text is None else {keys.QUOTA_SHARED_WEIGHT: text}
    one = quota.ElasticQuota(metadata=ObjectMeta(annotations=annotations), spec=quota.ElasticQuotaSpec(max={"cpu": "10"}))
    assert quota.shared_weight(one) == {"cpu": weight}


def test_parents():
    assert quota.parent(quota.ROOT, {keys.QUOTA_PARENT: "x"}) == ""
    assert quota.parent("a", None) == quota.ROOT
    assert quota.parent("a", {keys.QUOTA_PARENT: "b"}) == "b"


def test_conditions_of_jobs_write_null_times():
    assert msgspec.json.encode(migration.JobCondition(type="a", status="True")) == (
        b'{"type":"a","status":"True","lastProbeTime":null,"lastTransitionTime":null}'
    )


def test_explanations_are_in_order():
    details = [
        explanation.NodeFailedDetail(failed_plugin="b", reason="x", failed_nodes=["n2", "n1"]),
        explanation.NodeFailedDetail(failed_plugin="a", reason="x"),
        explanation.NodeFailedDetail(failed_plugin="a", reason="x", preempt_might_help=True),
    ]
    ordered = explanation.in_order(details)
    assert [(one.failed_plugin, one.preempt_might_help) for one in ordered] == [("a", True), ("a", False), ("b", False)]
    assert ordered[2].failed_nodes == ["n1", "n2"]
