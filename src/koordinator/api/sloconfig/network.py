"""Network bandwidth of the QoS classes against each other and against the node's: checks of the ConfigMap webhook.

A request is a percent of the node's bandwidth (an integer) or an amount (a text); one strategy must not mix the two.
"""

from collections.abc import Iterator

from koordinator.api import quantity
from koordinator.api.meta import LabelSelector
from koordinator.api.sloconfig.nodeslo import ResourceQOSConfig, SystemConfig
from koordinator.api.strategies import NetworkQOS, ResourceQOSStrategy

_HUNDRED = 100


def network_problem(config: ResourceQOSConfig, system: SystemConfig) -> str:
    """The first broken rule as the webhook words it, empty when there is none."""
    return next(_problems(config, system), "")


def _problems(config: ResourceQOSConfig, system: SystemConfig) -> Iterator[str]:
    strategies = [(f"nodeStrategy[{index}]", one) for index, one in enumerate(config.node_strategies or [])]
    if config.cluster_strategy is not None:
        strategies.insert(0, ("clusterStrategy", config.cluster_strategy))  # type: ignore[arg-type] # its node form adds to it
    for where, strategy in strategies:
        yield from _wrong_values(where, strategy)
    for where, strategy in strategies:
        if len({type(value) for network in _networks(strategy) for value in _requests(network)}) > 1:
            yield f"only one type can be used for percentages or quantity in {where}"
    yield from _cluster_sums(config.cluster_strategy, system)
    yield from _node_sums(config, system)


def _wrong_values(where: str, strategy: ResourceQOSStrategy) -> Iterator[str]:
    for network in _networks(strategy):
        for value in (network.ingress_request, network.ingress_limit, network.egress_request, network.egress_limit):
            if isinstance(value, str) and not _is_quantity(value):
                yield f"{where}: {value!r} is not a quantity"
            if isinstance(value, int) and not 0 <= value <= _HUNDRED:
                yield "must be percentage value just in 0-100'"


def _cluster_sums(strategy: ResourceQOSStrategy | None, system: SystemConfig) -> Iterator[str]:
    if strategy is None:
        return
    largest = max(_sums(strategy))
    if largest > _HUNDRED:
        yield "ClusterStrategy total net bandwidth percentage already over 100"
    if system.cluster_strategy is not None and largest > quantity.value(system.cluster_strategy.total_network_bandwidth):
        yield "total net bandwidth over total network bandwidth in clusterStrategy"


def _node_sums(config: ResourceQOSConfig, system: SystemConfig) -> Iterator[str]:
    for index, node in enumerate(config.node_strategies or []):
        largest = max(_sums(node))
        if largest > _HUNDRED:
            yield f"cfg.NodeStrategies[{index}] total net bandwidth percentage already over 100"
        if largest > _node_bandwidth(node.node_selector, system):
            yield f"total net bandwidth quantity already over total network bandwidth in cfg.NodeStrategies[{index}]"


def _node_bandwidth(selector: LabelSelector | None, system: SystemConfig) -> int:
    if not system.node_strategies:
        return quantity.value(system.cluster_strategy.total_network_bandwidth) if system.cluster_strategy is not None else 0
    same = (one for one in system.node_strategies if one.node_selector == selector)
    return next((quantity.value(one.total_network_bandwidth) for one in same), 0)


def _sums(strategy: ResourceQOSStrategy) -> tuple[int, int]:
    networks = list(_networks(strategy))
    return sum(_number(one.ingress_request) for one in networks), sum(_number(one.egress_request) for one in networks)


def _networks(strategy: ResourceQOSStrategy) -> Iterator[NetworkQOS]:
    for qos in (strategy.lsr_class, strategy.ls_class, strategy.be_class):
        if qos is not None and qos.network_qos is not None:
            yield qos.network_qos


def _requests(network: NetworkQOS) -> list[int | str]:
    return [value for value in (network.ingress_request, network.egress_request) if value is not None]


def _number(value: int | str | None) -> int:
    if isinstance(value, str):
        return quantity.value(value)
    return value or 0


def _is_quantity(text: str) -> bool:
    try:
        quantity.parse(text)
    except ValueError:
        return False
    return True
