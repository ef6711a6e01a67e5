"""Whatever order events come in, the columns hold exactly the pods that are known to be on the nodes."""

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from koordinator.scheduler.engine.cluster import Cluster, NotPossible
from koordinator.scheduler.engine.columns import Change
from scheduler.builders import READER, node, pod

NODES = ["a", "b", "c"]
KINDS = [{"cpu": "1"}, {"memory": "1Gi"}, {"cpu": "500m", "example.com/gpu": "2"}, {}]
PODS = [pod(f"p{index}", requests=KINDS[index % 4]) for index in range(6)]


def resized(one):
    copy = pod(one.name, requests={"cpu": "3"})
    copy.metadata.uid = one.metadata.uid
    return copy


class Accounting(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.cluster = Cluster()
        self.where = {}
        self.assumed = set()

    @rule(name=st.sampled_from(NODES), cpu=st.integers(1, 4))
    def set_node(self, name, cpu):
        self.cluster.set_node(node(name, cpu=str(cpu)))

    @rule(name=st.sampled_from(NODES))
    def remove_node(self, name):
        self.cluster.remove_node(name)

    @rule(one=st.sampled_from(PODS), name=st.sampled_from(NODES))
    def assume(self, one, name):
        info = READER.read(one)
        if info.uid in self.where:
            with pytest.raises(NotPossible):
                self.cluster.assume(info, name)
        else:
            self.cluster.assume(info, name)
            self.where[info.uid] = (info, name)
            self.assumed.add(info.uid)

    @rule(one=st.sampled_from(PODS))
    def forget(self, one):
        uid = one.metadata.uid
        assert self.cluster.forget(uid) == (uid in self.assumed)
        if uid in self.assumed:
            del self.where[uid]
            self.assumed.discard(uid)

    @rule(one=st.sampled_from(PODS), name=st.sampled_from(NODES), resize=st.booleans())
    def place(self, one, name, resize):
        info = READER.read(resized(one) if resize else one)
        self.cluster.place(info, name)
        self.where[info.uid] = (info, name)
        self.assumed.discard(info.uid)

    @rule(one=st.sampled_from(PODS))
    def remove(self, one):
        uid = one.metadata.uid
        assert (self.cluster.remove(uid) is not None) == (uid in self.where)
        self.where.pop(uid, None)
        self.assumed.discard(uid)

    @invariant()
    def the_columns_add_up(self):
        columns = self.cluster.columns
        for name, row in columns.row_of.items():
            there = [info for info, place in self.where.values() if place == name]
            requested = sum((info.template.vector(columns) for info in there), start=columns.vector({}))
            nonzero = sum((info.template.nonzero_vector(columns) for info in there), start=columns.vector({}))
            assert columns.requested[row].tolist() == requested.tolist()
            assert columns.nonzero[row].tolist() == nonzero.tolist()
            assert sorted(p.info.uid for p in self.cluster.pods_on(name)) == sorted(info.uid for info in there)
        assert self.cluster.assumed == len(self.assumed)


Accounting.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestAccounting = Accounting.TestCase


def test_an_unreadable_quantity_leaves_the_node_as_it_was():
    cluster = Cluster()
    cluster.set_node(node("a", cpu="4"))
    with pytest.raises(ValueError, match="cpu: 'lots' is not a quantity"):
        cluster.set_node(node("a", cpu="lots", labels={"new": "label"}))
    assert cluster.set_node(node("a", cpu="4")) == 0
    with pytest.raises(ValueError, match="memory"):
        cluster.set_node(node("b", memory="many"))
    assert len(cluster.columns) == 1


def test_what_changed_is_told():
    cluster = Cluster()
    assert cluster.set_node(node("a")) & Change.NODE
    assert cluster.set_node(node("a", labels={"x": "y"})) == Change.LABELS
    assert cluster.set_node(node("a", labels={"x": "y"}, unschedulable=True)) == Change.TAINTS
    assert cluster.set_node(node("a", cpu="5", labels={"x": "y"}, unschedulable=True)) == Change.ALLOCATABLE
