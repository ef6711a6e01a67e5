"""Promises as columns: they equal a plain sum over the promises that stand, and leave nothing behind."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from koordinator.scheduler.engine.cluster import Cluster
from scheduler.builders import info, node


def promised(cluster, pod):
    rows = np.arange(cluster.columns.size)
    taken = cluster.nominator.taken(pod, rows)[:, cluster.columns.resource("cpu")]
    return {name: int(taken[row]) for name, row in cluster.columns.row_of.items()}


step = st.tuples(st.integers(0, 5), st.sampled_from(["a", "b", "gone", ""]), st.booleans())


@given(steps=st.lists(step, max_size=30), asking=st.integers(-1, 4))
def test_what_is_promised_is_the_sum_of_the_promises_that_come_before(steps, asking):
    cluster = Cluster()
    for name in ("a", "b"):
        cluster.set_node(node(name))
    pods = [info(cpu="1", priority=number % 3) for number in range(6)]
    stands = {}
    for number, name, ours in steps:
        (cluster.nominator.nominate if ours else cluster.nominator.nominated_elsewhere)(pods[number], name)
        if name:
            stands[number] = name, ours
        elif number in stands and stands[number][1] == ours:  # nobody takes back what another scheduler has promised
            del stands[number]
    asker = info(cpu="1", priority=asking)
    expected = dict.fromkeys(cluster.columns.row_of, 0)
    for number, (name, ours) in stands.items():
        if name in expected and pods[number].priority - (not ours) >= asking:
            expected[name] += 1000
    assert promised(cluster, asker) == expected


def test_columns_go_with_the_last_promise_of_their_priority():
    cluster = Cluster()
    cluster.set_node(node("a"))
    before = len(cluster.columns._columns), len(cluster.columns._wide)
    for priority in range(100):
        one = info(cpu="1", priority=priority)
        cluster.nominator.nominate(one, "a")
        cluster.nominator.forget(one.uid)
    assert (len(cluster.columns._columns), len(cluster.columns._wide)) == before


def test_a_promise_on_a_node_that_went_meanwhile_leaves_nothing_behind_either():
    cluster = Cluster()
    cluster.set_node(node("a"))
    before = len(cluster.columns._columns)
    one = info(cpu="1", priority=3)
    cluster.nominator.nominate(one, "a")
    cluster.remove_node("a")
    cluster.nominator.forget(one.uid)
    assert len(cluster.columns._columns) == before
    cluster.set_node(node("a"))
    assert promised(cluster, info(priority=0)) == {"a": 0}
