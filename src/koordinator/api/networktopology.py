"""scheduling.koordinator.sh/v1alpha1 ClusterNetworkTopology: the layers of the network, and the nodes below each."""

from typing import Annotated

import msgspec

from koordinator.api.meta import REQUIRED, Int32, Object, Struct, always

CLUSTER_LAYER = "ClusterTopologyLayer"
NODE_LAYER = "NodeTopologyLayer"
DEFAULT_NAME = "default"
"""The object that the scheduler reads."""


class NetworkTopologyLayer(Struct):
    """One layer; any of ``labelKey`` on a node names its domain."""

    topology_layer: Annotated[str, REQUIRED] = always("")  #: Its name.
    parent_topology_layer: str = ""  #: The layer above.
    label_key: list[str] | None = None  #: Node labels that name the domain; any of them.


class ClusterNetworkTopologySpec(Struct):
    #: From the cluster down to the node.
    network_topology_spec: Annotated[list[NetworkTopologyLayer], REQUIRED] = msgspec.field(default_factory=list)


class TopologyInfo(Struct):
    topology_layer: Annotated[str, REQUIRED] = always("")  #: The layer.
    topology_name: Annotated[str, REQUIRED] = always("")  #: The domain.


class TopologyDetail(Struct):
    """One domain: where it hangs, what hangs below it, how many nodes it has."""

    topology_info: Annotated[TopologyInfo, REQUIRED] = msgspec.field(default_factory=TopologyInfo)  #: The domain.
    parent_topology_info: TopologyInfo | None = None  #: The one above.
    child_topology_layer: str = ""  #: The layer below.
    child_topology_names: list[str] | None = None  #: Domains below.
    node_num: Annotated[Int32, REQUIRED] = always(0)  #: Nodes in it.


class ClusterNetworkTopologyStatus(Struct):
    detail_status: list[TopologyDetail] | None = None  #: Every domain.


class ClusterNetworkTopology(Object):
    """The network as a tree of layers from the cluster down to the node."""

    spec: ClusterNetworkTopologySpec = msgspec.field(default_factory=ClusterNetworkTopologySpec)
    status: ClusterNetworkTopologyStatus = msgspec.field(default_factory=ClusterNetworkTopologyStatus)
