"""Scaling in the middle of a rollout."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controllers.workloads import NOW, deployment, of, replica_set
from koordinator.cluster.controllers import revisions
from koordinator.cluster.controllers.changes import Patch
from koordinator.cluster.controllers.deployment import Count, reconcile
from koordinator.cluster.controllers.objects import DeploymentStrategy, ReplicaSetStatus, RollingUpdate
from koordinator.cluster.controllers.proportion import resized, shares
from koordinator.cluster.controllers.rollout import Bounds, Size

OLD = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "v0"}]}}


def told(outcome):
    return {c.name: c.body["spec"]["replicas"] for c in of(Patch, outcome.changes) if "replicas" in c.body.get("spec", {})}


def middle(replicas, sized_for=10, **spec):
    """Ten pods and a surge of three: eight of the old template, five of the new one."""
    strategy = DeploymentStrategy(rolling_update=RollingUpdate(max_surge=3, max_unavailable=2))
    owner = deployment(replicas=replicas, strategy=strategy, **spec)
    notes = {revisions.DESIRED: str(sized_for)}
    running = [ReplicaSetStatus(replicas=n, available_replicas=n, observed_generation=1) for n in (8, 5)]
    old = replica_set("old", 8, owner, template=OLD, status=running[0], annotations=notes)
    new = replica_set("new", 5, owner, status=running[1], annotations={**notes, revisions.REVISION: "2"})
    counts = {rs.metadata.uid: Count(rs.spec.replicas, rs.spec.replicas) for rs in (old, new)}
    return reconcile(owner, [old, new], counts, NOW)


@pytest.mark.parametrize("paused", [False, True])
def test_both_templates_get_their_share_of_a_larger_number(paused):
    outcome = middle(15, paused=paused)
    assert told(outcome) == {"old": 11, "new": 7}
    scaled = [c for c in of(Patch, outcome.changes) if "spec" in c.body]
    assert all(c.body["metadata"]["annotations"][revisions.DESIRED] == "15" for c in scaled)


def test_and_of_a_smaller_one():
    assert told(middle(5)) == {"old": 5, "new": 3}


def test_without_a_new_number_the_rollout_goes_on():
    assert told(middle(10)) == {"old": 3}


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6).filter(any), st.integers(0, 200))
def test_shares_add_up_and_are_fair(sizes, total):
    given = shares(sizes, total)
    assert sum(given) == total
    assert all(abs(share - size * total / sum(sizes)) < 1 for share, size in zip(given, sizes, strict=True))


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9), st.booleans()), min_size=2, max_size=5).filter(
        lambda sets: any(stale for _, _, stale in sets)
    ),
    st.integers(0, 30),
    st.integers(0, 5),
)
def test_no_set_grows_beyond_what_all_together_may_have(sets, replicas, surge):
    sizes = [Size(spec, actual, actual) for spec, actual, _ in sets]
    wanted = resized(sizes, [stale for *_, stale in sets], Bounds(replicas, surge, 0))
    present = sum(max(size.spec, size.actual) for size in sizes)
    growth = sum(max(0, number - size.spec) for number, size in zip(wanted, sizes, strict=True))
    assert growth == 0 or present + growth <= replicas + surge
