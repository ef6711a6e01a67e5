"""Every plugin over columns says what kube-scheduler's rule says node by node, and rows do not influence each other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.framework import UNRESOLVABLE
from koordinator.scheduler.plugins.balanced_allocation import NodeResourcesBalancedAllocation
from koordinator.scheduler.plugins.node_affinity import NodeAffinity
from koordinator.scheduler.plugins.node_name import NodeName
from koordinator.scheduler.plugins.node_unschedulable import NodeUnschedulable
from koordinator.scheduler.plugins.resources_fit import NodeResourcesFit
from koordinator.scheduler.plugins.taint_toleration import TaintToleration
from scheduler import builders, oracle
from scheduler.builders import READER, compiled


def placed(nodes, residents):
    """A cluster with pods spread over its nodes; returns who is where too."""
    cluster, where = Cluster(), {node.name: [] for node in nodes}
    for node in nodes:
        cluster.set_node(node)
    for pod, place in residents:
        name = nodes[place % len(nodes)].name
        cluster.place(READER.read(pod), name)
        where[name].append(pod)
    return cluster, where


worlds = st.tuples(builders.clusters(), st.lists(st.tuples(builders.pods(), st.integers(0, 3)), max_size=4), builders.pods())


def reasons(plugin, cluster, pod):
    """Reasons by node."""
    asked = compiled(plugin, cluster.columns, READER.read(pod))
    columns = cluster.columns
    if not asked.filters:
        return {name: [] for name in columns.row_of}
    codes = plugin.filter(asked.state, asked.pod, columns, columns.rows)
    each = [plugin.filter(asked.state, asked.pod, columns, slice(row, row + 1))[0] for row in range(columns.size)]
    by_index = plugin.filter(asked.state, asked.pod, columns, np.arange(columns.size)[::-1])[::-1]
    assert codes.tolist() == [int(one) for one in each] == by_index.tolist()
    explain = lambda code: plugin.explain(asked.state, code & ~UNRESOLVABLE, columns)  # noqa: E731
    return {name: explain(int(codes[row])) if codes[row] else [] for name, row in columns.row_of.items()}


def raw_scores(plugin, cluster, pod):
    """Raw scores by node; None when PreScore skips the plugin."""
    asked = compiled(plugin, cluster.columns, READER.read(pod))
    columns = cluster.columns
    if not asked.scores:
        return None
    scores = plugin.score(asked.state, asked.pod, columns, columns.rows)
    each = [plugin.score(asked.state, asked.pod, columns, slice(row, row + 1))[0] for row in range(columns.size)]
    by_index = plugin.score(asked.state, asked.pod, columns, np.arange(columns.size)[::-1])[::-1]
    assert scores.tolist() == [int(one) for one in each] == by_index.tolist()
    return {name: int(scores[row]) for name, row in columns.row_of.items()}


@pytest.mark.parametrize(
    ("plugin", "expected"),
    [
        (TaintToleration, lambda pod, node, _: oracle.taint_reason(pod, node)),
        (NodeAffinity, lambda pod, node, _: oracle.affinity_reason(pod, node)),
        (NodeResourcesFit, oracle.fit_reasons),
    ],
)
@given(world=worlds)
@settings(max_examples=60, deadline=None)
def test_filters(plugin, expected, world):
    nodes, residents, pod = world
    cluster, where = placed(nodes, residents)
    conflict = "pod affinity terms conflict"
    asked = compiled(plugin(), cluster.columns, READER.read(pod))
    if asked.status is not None:
        assert asked.status.reasons == (conflict,)
        assert all(expected(pod, node, where[node.name]) for node in nodes)
        return
    found = {name: sorted(texts) for name, texts in reasons(plugin(), cluster, pod).items()}
    assert found == {node.name: expected(pod, node, where[node.name]) for node in nodes}
    if asked.only is not None:  # PreFilter may only leave out nodes that the filter would refuse
        assert {name for name, texts in found.items() if not texts} <= asked.only


@pytest.mark.parametrize(
    ("plugin", "expected"),
    [
        (TaintToleration, lambda pod, node, _: oracle.taint_raw(pod, node)),
        (NodeAffinity, lambda pod, node, _: oracle.affinity_raw(pod, node)),
        (NodeResourcesFit, oracle.least_allocated),
        (NodeResourcesBalancedAllocation, oracle.balanced),
    ],
)
@given(world=worlds)
@settings(max_examples=60, deadline=None)
def test_scores(plugin, expected, world):
    nodes, residents, pod = world
    cluster, where = placed(nodes, residents)
    found = raw_scores(plugin(), cluster, pod)
    if found is not None:
        assert found == {node.name: expected(pod, node, where[node.name]) for node in nodes}


@pytest.mark.parametrize(("plugin", "reverse"), [(TaintToleration, True), (NodeAffinity, False)])
@given(raw=st.lists(st.integers(0, 500), min_size=1, max_size=6))
def test_normalisation(plugin, reverse, raw):
    one, scores = plugin(), np.array(raw, dtype=np.int64)
    bounds = one.bounds(scores, np.ones(len(raw), dtype=np.bool_))
    expected = oracle.normalized(dict(enumerate(raw)), reverse=reverse)
    assert dict(enumerate(one.normalize(scores, bounds).tolist())) == expected


def test_a_cordoned_node_takes_only_who_tolerates_it():
    cluster, _ = placed([builders.node("n0", unschedulable=True), builders.node("n1")], [])
    assert reasons(NodeUnschedulable(), cluster, builders.pod()) == {"n0": ["node(s) were unschedulable"], "n1": []}
    daemon = builders.pod(tolerations=[builders.Toleration(key="node.kubernetes.io/unschedulable", operator="Exists")])
    assert reasons(NodeUnschedulable(), cluster, daemon) == {"n0": [], "n1": []}


def test_a_pod_that_names_its_node_fits_only_there():
    cluster, _ = placed([builders.node("n0"), builders.node("n1")], [])
    refused = {"n0": ["node(s) didn't match the requested node name"], "n1": []}
    assert reasons(NodeName(), cluster, builders.pod(node_name="n1")) == refused
    assert reasons(NodeName(), cluster, builders.pod()) == {"n0": [], "n1": []}
