"""The network as a tree: layers from the cluster down to the node, domains in them, nodes as the leaves. Pure functions.

A node says by its labels in which domain of each layer it is. Without a label for the layer directly above the nodes it gets a
domain of its own there, named like it; without one for a layer further up it has no place in the tree.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from koordinator.api.networktopology import CLUSTER_LAYER, NODE_LAYER, NetworkTopologyLayer, TopologyDetail, TopologyInfo

Key = tuple[str, str]
"""A domain's layer and name: its identity in the whole tree."""

ROOT: Key = (CLUSTER_LAYER, "")


class InvalidTopology(ValueError):
    """The layers do not form a chain from the cluster to the node."""


class Domain(msgspec.Struct, frozen=True):
    """A part of the network. ``parent`` and ``children`` are indexes into ``Tree.domains``; the root's parent is -1."""

    layer: str
    name: str
    parent: int
    children: tuple[int, ...]
    nodes: int
    """How many nodes are in it."""


class Tree(msgspec.Struct, frozen=True):
    """One state of the network; never changed. ``domains`` are in pre-order, children by name, nodes included."""

    layers: tuple[str, ...]
    """From the cluster down to the node."""
    domains: tuple[Domain, ...]
    index: dict[Key, int]
    """Where a domain is. Read only."""

    def get(self, layer: str, name: str) -> Domain | None:
        found = self.index.get((layer, name))
        return None if found is None else self.domains[found]

    def above(self, node: str) -> Iterator[Domain]:
        """The domains that a node is in, from the closest to the root. Nothing for a node that is not in the tree."""
        at = self.index.get((NODE_LAYER, node), -1)
        while at >= 0 and (at := self.domains[at].parent) >= 0:
            yield self.domains[at]


class Built(NamedTuple):
    """A tree, and what did not go into it as somebody may have meant it."""

    tree: Tree
    skipped: list[str]
    """Nodes without a label for one of the layers."""
    disputed: list[Key]
    """Domains that nodes want under different parents: the first seen counts."""


def chain(spec: Sequence[NetworkTopologyLayer]) -> list[NetworkTopologyLayer]:
    """The layers from below the cluster down to the node. Raises InvalidTopology."""
    known = {layer.topology_layer: layer for layer in spec if layer.topology_layer != CLUSTER_LAYER}
    if len(known) < sum(layer.topology_layer != CLUSTER_LAYER for layer in spec):
        raise InvalidTopology("a topology layer is in the spec twice")
    upward: list[NetworkTopologyLayer] = []
    name = NODE_LAYER
    while not upward or len(upward) < len(known):
        layer = known.get(name)
        if layer is None:
            raise InvalidTopology(f'topology layer "{name}" not found in spec')
        if layer in upward:
            raise InvalidTopology(f'topology layer "{name}" is above itself')
        upward.append(layer)
        name = layer.parent_topology_layer
    return upward[::-1]


def path(name: str, labels: Mapping[str, str], layers: Sequence[NetworkTopologyLayer]) -> tuple[str, ...] | None:
    """A node's domains from the top layer down to itself; None when it has no place in the tree."""
    found: list[str] = []
    for layer in layers[:-2]:
        domain = _domain(labels, layer)
        if not domain:
            return None
        found.append(domain)
    if len(layers) > 1:
        found.append(_domain(labels, layers[-2]) or name)
    return (*found, name)


def _domain(labels: Mapping[str, str], layer: NetworkTopologyLayer) -> str:
    return next((value for key in layer.label_key or () if (value := labels.get(key))), "")


def build(spec: Sequence[NetworkTopologyLayer], nodes: Iterable[tuple[str, Mapping[str, str]]]) -> Built:
    """The tree of these nodes, given by name and labels. Nodes are taken by name, so that equal input gives an equal tree.

    Raises InvalidTopology.
    """
    layers = chain(spec)
    names = (CLUSTER_LAYER, *(layer.topology_layer for layer in layers))
    children: dict[Key, set[Key]] = {ROOT: set()}
    parents: dict[Key, Key] = {}
    skipped: list[str] = []
    disputed: dict[Key, None] = {}
    for name, labels in sorted(nodes, key=lambda node: node[0]):
        domains = path(name, labels, layers)
        if domains is None:
            skipped.append(name)
            continue
        above = ROOT
        for key in zip(names[1:], domains, strict=True):
            parent = parents.get(key)
            if parent is None:
                parents[key], children[key] = above, set()
                children[above].add(key)
            elif parent != above:
                disputed[key] = None
            above = key
    return Built(_frozen(names, children), skipped, list(disputed))


def _frozen(layers: tuple[str, ...], children: Mapping[Key, set[Key]]) -> Tree:
    order: list[tuple[Key, int]] = []
    index: dict[Key, int] = {}
    stack = [(ROOT, -1)]
    while stack:
        key, parent = stack.pop()
        index[key] = len(order)
        order.append((key, parent))
        stack.extend((child, index[key]) for child in sorted(children[key], reverse=True))
    nodes = [int(key[0] == NODE_LAYER) for key, _ in order]
    below: list[list[int]] = [[] for _ in order]
    for at in range(len(order) - 1, 0, -1):  # children stand after their parents
        parent = order[at][1]
        nodes[parent] += nodes[at]
        below[parent].append(at)
    domains = (
        Domain(layer, name, parent, tuple(reversed(below[at])), nodes[at]) for at, ((layer, name), parent) in enumerate(order)
    )
    return Tree(layers, tuple(domains), index)


def details(tree: Tree) -> list[TopologyDetail]:
    """The tree as ClusterNetworkTopology shows it: every domain but the nodes."""
    under = dict(zip(tree.layers, tree.layers[1:], strict=False))
    return [_detail(tree, domain, under[domain.layer]) for domain in tree.domains if domain.layer != NODE_LAYER]


def _detail(tree: Tree, domain: Domain, child_layer: str) -> TopologyDetail:
    names = [tree.domains[child].name for child in domain.children] if child_layer != NODE_LAYER else []
    return TopologyDetail(
        topology_info=_info(domain),
        parent_topology_info=_info(tree.domains[domain.parent]) if domain.parent >= 0 else None,
        child_topology_layer=child_layer,
        child_topology_names=names or None,
        node_num=domain.nodes,
    )


def _info(domain: Domain) -> TopologyInfo:
    return TopologyInfo(topology_layer=domain.layer, topology_name=domain.name)
