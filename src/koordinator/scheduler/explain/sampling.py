"""Where kube-scheduler would have stopped to look. We look at all nodes; who has set a percentage may want to compare."""

from koordinator.scheduler.config.types import Configuration

FEWEST_NODES, FEWEST_PERCENT = 100, 5


def nodes_to_find(nodes: int, percentage: int) -> int:
    """After so many nodes that fit kube-scheduler looks no further. 0 percent: it goes by the size of the cluster."""
    if nodes < FEWEST_NODES:
        return nodes
    share = percentage or max(50 - nodes // 125, FEWEST_PERCENT)
    return max(nodes * share // 100, FEWEST_NODES)


def percentages(configuration: Configuration) -> dict[str, int]:
    """By profile, where a percentage is set that would leave nodes out."""
    default = configuration.percentage_of_nodes_to_score
    found: dict[str, int] = {}
    for profile in configuration.profiles:
        own = profile.percentage_of_nodes_to_score
        share = default if own is None else own
        if share is not None and 0 < share < 100:
            found[profile.scheduler_name] = share
    return found
