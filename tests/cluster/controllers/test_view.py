"""The view against a watch that delays, and the controllers' safety on top of it: never too many pods, whatever is late."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.controllers.laggard import Cluster, Laggard
from cluster.controllers.workloads import deployment, pod, replica_set
from koordinator.api.registry import PODS
from koordinator.clock import ManualClock
from koordinator.cluster.controllers.view import View
from koordinator.kube.errors import NotFound


def versioned(obj, version, **metadata):
    return msgspec.structs.replace(
        obj, metadata=msgspec.structs.replace(obj.metadata, resource_version=str(version), **metadata)
    )


def make():
    source, changes = Laggard(), []
    view = View(PODS, source, ManualClock())
    view.on(lambda old, new: changes.append((old is not None, new is not None)))
    return source, view, changes


def test_our_own_write_is_seen_at_once_and_told_once():
    source, view, changes = make()
    mine = versioned(pod("a"), 5)
    view.wrote(mine)
    assert view.get("default/a") is mine
    source.show(mine)
    assert changes == [(False, True)]


def test_an_older_state_from_the_watch_does_not_undo_our_write():
    source, view, _ = make()
    view.wrote(versioned(pod("a", phase="Running"), 7))
    source.show(versioned(pod("a", phase="Pending"), 6))
    assert view.get("default/a").status.phase == "Running"
    source.show(versioned(pod("a", phase="Failed"), 8))
    assert view.get("default/a").status.phase == "Failed"


def test_what_we_deleted_is_never_seen_alive_again():
    source, view, _ = make()
    source.show(versioned(pod("a"), 5))
    view.doomed("default/a", "uid-a")
    assert view.get("default/a").metadata.deletion_timestamp
    source.show(versioned(pod("a"), 6))
    assert view.get("default/a").metadata.deletion_timestamp
    source.remove(versioned(pod("a"), 7))
    assert view.get("default/a") is None


def test_a_late_answer_does_not_bring_back_what_the_watch_saw_go():
    source, view, _ = make()
    short_lived = versioned(pod("a"), 5)
    source.show(short_lived)
    source.remove(short_lived)
    view.wrote(short_lived)
    assert view.get("default/a") is None


def test_a_successor_of_the_same_name_is_another_object():
    source, view, _ = make()
    source.show(versioned(pod("a"), 5))
    view.wrote(versioned(pod("a"), 9, uid="second"))
    source.remove(versioned(pod("a"), 8))
    assert view.get("default/a").metadata.uid == "second"


async def test_what_the_watch_never_showed_is_looked_up():
    class Store:
        async def get(self, resource, name, namespace=""):
            raise NotFound(404, "NotFound", "gone")

    clock = ManualClock()
    view = View(PODS, Laggard(), clock)
    view.wrote(versioned(pod("a"), 5))
    await view.settle_doubts(Store())
    assert view.get("default/a") is not None
    clock.advance(31)
    await view.settle_doubts(Store())
    assert view.get("default/a") is None


steps = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), st.integers(1, 6)),
        st.just(("deployments", 0)),
        st.just(("sets", 0)),
        st.tuples(st.just("ready"), st.integers(0, 9)),
        st.tuples(st.just("kill"), st.integers(0, 9)),
        st.tuples(st.just("end"), st.integers(0, 9)),
        st.tuples(st.just("image"), st.integers(1, 3)),
    ),
    min_size=5,
    max_size=120,
)


@settings(max_examples=60)
@given(steps=steps, replicas=st.integers(1, 5), surge=st.integers(0, 2), unavailable=st.integers(0, 2))
def test_never_more_pods_than_replicas_and_surge_whatever_is_late(steps, replicas, surge, unavailable):
    cluster = Cluster(deployment(replicas=replicas), surge, unavailable)
    for what, number in steps:
        cluster.act(what, number)
        assert cluster.active() <= replicas + surge
    cluster.settle()
    assert cluster.active() == replicas


growing = st.lists(st.one_of(steps.flatmap(st.sampled_from), st.tuples(st.just("grow"), st.integers(1, 3))), max_size=80)


@settings(max_examples=60)
@given(steps=growing, replicas=st.integers(1, 5), surge=st.integers(0, 2))
def test_nor_when_it_is_scaled_up_in_the_middle_of_rollouts(steps, replicas, surge):
    cluster = Cluster(deployment(replicas=replicas), surge, 1)
    cluster.replicas = replicas
    for what, number in steps:
        cluster.act(what, number)
        assert cluster.active() <= cluster.replicas + surge
    cluster.settle()
    assert cluster.active() == cluster.replicas


@settings(max_examples=60)
@given(steps=steps, replicas=st.integers(0, 6))
def test_a_replica_set_alone_never_overshoots_either(steps, replicas):
    cluster = Cluster(None, 0, 0, only=replica_set(replicas=replicas))
    for what, number in steps:
        cluster.act(what, number)
        assert cluster.active() <= replicas
    cluster.settle()
    assert cluster.active() == replicas
