import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controllers.workloads import LABELS, NOW, meta, of, pod, replica_set
from koordinator.api.core import PodDisruptionBudgetSpec
from koordinator.api.meta import LabelSelector, LabelSelectorRequirement, format_time
from koordinator.cluster.controllers.changes import Patch, Tell
from koordinator.cluster.controllers.disruption import reconcile
from koordinator.cluster.controllers.objects import DisruptionBudget, DisruptionStatus

RS = replica_set(replicas=4)


def budget(**spec):
    return DisruptionBudget(
        metadata=meta("web"), spec=PodDisruptionBudgetSpec(selector=LabelSelector(match_labels=LABELS), **spec)
    )


def scale_of(one):
    return (RS.metadata.uid, 4) if one.owner is not None else None


def look(held, pods, now=NOW):
    return reconcile(held, pods, scale_of, now)


def numbers(outcome):
    (patch,) = of(Patch, outcome.changes)
    status = patch.body["status"]
    return status["expectedPods"], status["desiredHealthy"], status["currentHealthy"], status["disruptionsAllowed"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"max_unavailable": 1}, (4, 3, 4, 1), id="max-unavailable"),
        pytest.param({"max_unavailable": "50%"}, (4, 2, 4, 2), id="max-unavailable-percent"),
        pytest.param({"min_available": 3}, (4, 3, 4, 1), id="min-available"),
        pytest.param({"min_available": "30%"}, (4, 2, 4, 2), id="min-available-percent-rounds-up"),
        pytest.param({"min_available": 9}, (4, 9, 4, 0), id="never-negative"),
        pytest.param({}, (4, 1, 4, 3), id="nothing-said-is-one-available"),
    ],
)
def test_numbers(spec, expected):
    assert numbers(look(budget(**spec), [pod(f"p{i}", RS) for i in range(4)])) == expected


def test_only_ready_pods_that_stay_are_healthy():
    pods = [pod("a", RS), pod("b", RS, ready=False), pod("c", RS, deleting=True), pod("d", RS, phase="Failed")]
    assert numbers(look(budget(max_unavailable=1), pods)) == (4, 3, 1, 0)


def test_an_eviction_under_way_counts_as_lost_until_it_is_seen_or_lapses():
    held, pods = budget(max_unavailable=1), [pod(f"p{i}", RS) for i in range(4)]
    held.status.disrupted_pods = {"p0": format_time(NOW), "gone": format_time(NOW)}
    outcome = look(held, pods)
    assert numbers(outcome)[3] == 0
    assert of(Patch, outcome.changes)[0].body["status"]["disruptedPods"] == {"p0": format_time(NOW), "gone": None}
    assert outcome.again_after == 120
    assert numbers(look(held, pods, NOW + 121))[3] == 1


def test_the_write_fails_if_an_eviction_came_in_between():
    assert of(Patch, look(budget(), []).changes)[0].body["metadata"]["resourceVersion"]


def test_pods_without_a_scale_forbid_every_eviction_and_say_why():
    outcome = look(budget(max_unavailable=1), [pod("bare")])
    (patch,), (tell,) = of(Patch, outcome.changes), of(Tell, outcome.changes)
    assert patch.body["status"]["disruptionsAllowed"] == 0
    assert "found no controller with a scale for pod 'default/bare'" in tell.message


@pytest.mark.parametrize(
    ("held", "field"),
    [
        pytest.param(budget(max_unavailable="many"), "spec.maxUnavailable", id="number"),
        pytest.param(
            DisruptionBudget(
                metadata=meta("bad"),
                spec=PodDisruptionBudgetSpec(
                    selector=LabelSelector(match_expressions=[LabelSelectorRequirement(key="a", operator="In")])
                ),
            ),
            "spec.selector.matchExpressions[0].values",
            id="selector",
        ),
    ],
)
def test_a_bad_budget_names_the_field_and_allows_nothing(held, field):
    outcome = look(held, [pod("p", RS)])
    assert of(Tell, outcome.changes)[0].message.startswith(field)
    assert of(Patch, outcome.changes)[0].body["status"]["disruptionsAllowed"] == 0


def test_once_written_it_rests():
    held, pods = budget(max_unavailable=1), [pod(f"p{i}", RS) for i in range(4)]
    (patch,) = look(held, pods).changes
    written = {key: value for key, value in patch.body["status"].items() if value}
    held.status = msgspec.convert(written, DisruptionStatus)
    assert look(held, pods, NOW + 60).changes == []


@given(healthy=st.integers(0, 10), sick=st.integers(0, 10), minimum=st.integers(0, 20))
def test_what_is_allowed_never_breaks_the_budget(healthy, sick, minimum):
    pods = [pod(f"h{i}", RS) for i in range(healthy)] + [pod(f"s{i}", RS, ready=False) for i in range(sick)]
    outcome = look(budget(min_available=minimum), pods)
    allowed = numbers(outcome)[3] if outcome.changes else 0
    assert healthy - allowed >= min(minimum, healthy)
