"""The tree of the network, as a function."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api.networktopology import CLUSTER_LAYER, NODE_LAYER, NetworkTopologyLayer
from koordinator.scheduler.topology.tree import InvalidTopology, build, details

SPINE = NetworkTopologyLayer(topology_layer="Spine", label_key=["spine"])
BLOCK = NetworkTopologyLayer(topology_layer="Block", parent_topology_layer="Spine", label_key=["block", "old-block"])
NODES = NetworkTopologyLayer(topology_layer=NODE_LAYER, parent_topology_layer="Block")
LAYERS = [SPINE, BLOCK, NODES]


def tree(nodes, layers=LAYERS):
    return build(layers, nodes.items())


def node(spine="", block="", **more):
    return {key: value for key, value in ({"spine": spine, "block": block} | more).items() if value}


def shape(built):
    return [(one.layer, one.name, one.nodes) for one in built.tree.domains]


def test_domains_stand_in_pre_order_by_name_with_their_nodes():
    built = tree({"n2": node("s1", "b2"), "n1": node("s1", "b2"), "n3": node("s0", "b1")})
    assert shape(built) == [
        (CLUSTER_LAYER, "", 3),
        ("Spine", "s0", 1),
        ("Block", "b1", 1),
        (NODE_LAYER, "n3", 1),
        ("Spine", "s1", 2),
        ("Block", "b2", 2),
        (NODE_LAYER, "n1", 1),
        (NODE_LAYER, "n2", 1),
    ]
    assert [one.name for one in built.tree.above("n1")] == ["b2", "s1", ""]
    assert list(built.tree.above("unknown")) == []
    assert built.tree.get("Block", "b2").nodes == 2


def test_any_of_a_layers_labels_names_the_domain_and_an_empty_one_does_not_count():
    built = tree({"n1": {"spine": "s", "block": "", "old-block": "b"}})
    assert ("Block", "b", 1) in shape(built)


def test_a_node_without_the_label_directly_above_gets_a_domain_of_its_own():
    built = tree({"n1": node("s")})
    assert ("Block", "n1", 1) in shape(built)
    assert built.skipped == []


def test_a_node_without_another_label_is_left_out():
    built = tree({"n1": node(block="b"), "n2": node("s", "b")})
    assert built.skipped == ["n1"]
    assert built.tree.domains[0].nodes == 1


def test_a_domain_under_two_parents_stays_with_the_first_and_is_told():
    built = tree({"n1": node("s1", "b"), "n2": node("s2", "b")})
    assert built.disputed == [("Block", "b")]
    assert shape(built) == [
        (CLUSTER_LAYER, "", 2),
        ("Spine", "s1", 2),
        ("Block", "b", 2),
        (NODE_LAYER, "n1", 1),
        (NODE_LAYER, "n2", 1),
        ("Spine", "s2", 0),
    ]


def test_nodes_may_hang_directly_below_the_cluster():
    built = tree({"n1": {}}, [NetworkTopologyLayer(topology_layer=NODE_LAYER)])
    assert shape(built) == [(CLUSTER_LAYER, "", 1), (NODE_LAYER, "n1", 1)]
    assert msgspec.to_builtins(details(built.tree)) == [
        {
            "topologyInfo": {"topologyLayer": CLUSTER_LAYER, "topologyName": ""},
            "childTopologyLayer": NODE_LAYER,
            "nodeNum": 1,
        }
    ]


def test_the_cluster_may_be_named_as_a_layer():
    root = NetworkTopologyLayer(topology_layer=CLUSTER_LAYER)
    named = msgspec.structs.replace(SPINE, parent_topology_layer=CLUSTER_LAYER)
    assert tree({"n1": node("s", "b")}, [root, named, BLOCK, NODES]) == tree({"n1": node("s", "b")})


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        pytest.param([], f'topology layer "{NODE_LAYER}" not found in spec', id="empty"),
        pytest.param([SPINE, NODES], 'topology layer "Block" not found in spec', id="missing link"),
        pytest.param(
            [SPINE, NetworkTopologyLayer(topology_layer=NODE_LAYER)], 'topology layer "" not found in spec', id="not reached"
        ),
        pytest.param([SPINE, SPINE, BLOCK, NODES], "a topology layer is in the spec twice", id="twice"),
        pytest.param(
            [msgspec.structs.replace(BLOCK, parent_topology_layer=NODE_LAYER), SPINE, NODES],
            f'topology layer "{NODE_LAYER}" is above itself',
            id="circle",
        ),
    ],
)
def test_layers_that_form_no_chain_are_an_error(layers, message):
    with pytest.raises(InvalidTopology) as caught:
        tree({}, layers)
    assert str(caught.value) == message


names = st.sampled_from(["", "a", "b", "c"])
clusters = st.dictionaries(st.sampled_from([f"n{i}" for i in range(8)]), st.builds(node, names, names))


@given(clusters, st.randoms())
def test_every_node_is_counted_once_all_the_way_up_whatever_the_order(nodes, random):
    built = tree(nodes)
    shuffled = list(nodes.items())
    random.shuffle(shuffled)
    assert build(LAYERS, shuffled) == built
    domains, skipped = built.tree.domains, set(built.skipped)
    assert skipped == {name for name, labels in nodes.items() if not labels.get("spine")}
    assert {one.name for one in domains if one.layer == NODE_LAYER} == nodes.keys() - skipped
    for at, domain in enumerate(domains):
        assert built.tree.index[domain.layer, domain.name] == at
        below = [domains[child] for child in domain.children]
        assert [one.name for one in below] == sorted(one.name for one in below)
        assert all(one.parent == at for one in below)
        assert domain.nodes == (1 if domain.layer == NODE_LAYER else sum(one.nodes for one in below))
    for name in nodes.keys() - skipped:
        assert len(list(built.tree.above(name))) == 3
