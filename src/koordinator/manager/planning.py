"""What every node would sell under a proposed configuration, from what its koordlet reports now: before anybody applies it.

The numbers come from the functions that the node resource controller calls; nothing here writes to the cluster.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from koordinator.api import keys
from koordinator.api.core import ConfigMap, Node, Pod
from koordinator.api.registry import CONFIG_MAPS, NODE_METRICS, NODES, PODS
from koordinator.api.resources import BATCH_CPU, BATCH_MEMORY, MID_CPU, MID_MEMORY
from koordinator.api.slo import NodeMetric
from koordinator.api.sloconfig import review
from koordinator.api.sloconfig.colocation import ColocationStrategy
from koordinator.api.sloconfig.nodeslo import HOST_APPLICATION_CONFIG
from koordinator.api.sloconfig.ratios import CPU_NORMALIZATION_CONFIG, RESOURCE_AMPLIFICATION_CONFIG
from koordinator.api.sloconfig.resolve import COLOCATION_CONFIG
from koordinator.errors import ConfigInvalid, KoordError
from koordinator.kube.errors import NotFound
from koordinator.kube.store import Store
from koordinator.manager.config import STAYS, STRATEGIES, ConfigCache
from koordinator.manager.controllers.nodewriter import TOPOLOGIES, Topology
from koordinator.manager.overcommit import batch, inputs, mid, prepare
from koordinator.manager.overcommit.batch import Breakdown
from koordinator.manager.overcommit.inputs import NodeShare, PodShare, Reported
from koordinator.manager.overcommit.ratios import normalization_text
from koordinator.manager.overcommit.selling import why_not

Data = Mapping[str, str]

KEYS = (
    COLOCATION_CONFIG,
    CPU_NORMALIZATION_CONFIG,
    RESOURCE_AMPLIFICATION_CONFIG,
    HOST_APPLICATION_CONFIG,
    *(key.key for key in STRATEGIES.values()),
)
"""Of slo-controller-config."""

NAMES = (BATCH_CPU, BATCH_MEMORY, MID_CPU, MID_MEMORY)


class Snapshot(msgspec.Struct, frozen=True):
    """The cluster as it was read. ``data`` are the texts of the ConfigMap that is in force; None when there is none."""

    nodes: list[Node]
    pods: list[Pod]
    metrics: dict[str, NodeMetric]
    topologies: dict[str, Topology]
    data: Data | None


class Side(msgspec.Struct, frozen=True):
    """One node under one configuration. ``sold`` by resource name; what is not there is not sold, and ``why_not`` says why."""

    sold: dict[str, int]
    why_not: str = ""
    parts: tuple[Breakdown, ...] = ()
    system: tuple[int, int] = (0, 0)
    reserved: tuple[int, int] = (0, 0)
    normalization: float = 1.0
    third_party: dict[str, int] = {}


class NodePlan(msgspec.Struct, frozen=True):
    """One node: now, under the configuration in force, and under the proposed one."""

    node: str
    offered: dict[str, int]
    current: Side
    proposed: Side


async def look(store: Store, config_map: str, node: str = "") -> Snapshot:
    """Read what the formulas need, of all nodes or of one. Raises ApiError; NotFound for a node that is not there."""
    namespace, _, name = config_map.rpartition("/")
    only = f"spec.nodeName={node}" if node else ""
    nodes = [await store.get(NODES, node)] if node else (await store.list(NODES)).items
    pods = (await store.list(PODS, field_selector=only)).items
    metrics = (await store.list(NODE_METRICS)).items
    topologies = (await store.list(TOPOLOGIES)).items
    try:
        found: ConfigMap | None = await store.get(CONFIG_MAPS, name, namespace)
    except NotFound:
        found = None
    return Snapshot(
        nodes=nodes,
        pods=[pod for pod in pods if pod.spec.node_name],
        metrics={one.name: one for one in metrics},
        topologies={one.name: one for one in topologies},
        data=None if found is None else found.data or {},
    )


def proposed_data(text: str, where: str, current: Data | None) -> Data:
    """The ConfigMap's texts with those of a file laid over. The file is a ConfigMap, or its keys alone.

    Raises: ConfigInvalid.
    """
    import yaml

    effect = "nothing was planned"
    try:
        body = yaml.safe_load(text)
    except yaml.YAMLError as err:
        raise ConfigInvalid(where, text[:40], f"is not readable YAML or JSON: {err}", effect) from err
    if not isinstance(body, dict):
        raise ConfigInvalid(where, text[:40], "must be a ConfigMap or a mapping of its keys", effect)
    data = body.get("data") if "data" in body or body.get("kind") == "ConfigMap" else body
    known = {key: _text(value) for key, value in (data or {}).items() if key in KEYS}
    if not known:
        raise ConfigInvalid(where, sorted(map(str, data or {})), f"holds none of the keys {', '.join(KEYS)}", effect)
    return {**(current or {}), **known}


def _text(value: Any) -> str:
    """An object that somebody wrote instead of its JSON text."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def usable_config(data: Data | None) -> ConfigCache:
    """The configuration in force, as a manager that has just started would read it: what is broken in it is left out."""
    cache = ConfigCache()
    cache.sync(data)
    return cache


def read_config(data: Data | None, where: str) -> ConfigCache:
    """Raises KoordError for what the manager would not take in."""
    cache = ConfigCache()
    for problem in cache.sync(data).problems:
        raise KoordError(f"{where}: {problem.message.removesuffix(STAYS)}; nothing was planned")
    return cache


def warning(snapshot: Snapshot, data: Data) -> str:
    """What the validating webhook would refuse; empty when nothing."""
    labels = [(node.name, node.labels) for node in snapshot.nodes]
    refusal = review.review_all(data, snapshot.data, lambda: labels)
    return "" if refusal is None else str(refusal)


def plan(snapshot: Snapshot, current: ConfigCache, proposed: ConfigCache, now: float) -> list[NodePlan]:
    """Every node of the snapshot, by name."""
    pods: dict[str, list[PodShare]] = {}
    for pod in snapshot.pods:
        pods.setdefault(pod.spec.node_name, []).append(inputs.pod_share(pod))
    found = []
    for node in sorted(snapshot.nodes, key=lambda one: one.name):
        seen = _Seen(node, pods.get(node.name, ()), snapshot.metrics.get(node.name), snapshot.topologies.get(node.name))
        found.append(NodePlan(node.name, _offered(node), seen.under(current, now), seen.under(proposed, now)))
    return found


def _offered(node: Node) -> dict[str, int]:
    offered = node.status.allocatable or {}
    amounts = {name: prepare.amount_or_none(offered.get(name)) for name in NAMES}
    return {name: amount for name, amount in amounts.items() if amount is not None}


class _Seen:
    """One node and all that the formulas read of it."""

    def __init__(self, node: Node, pods: Collection[PodShare], metric: NodeMetric | None, topology: Topology | None) -> None:
        self._node, self._pods, self._topology = node, pods, topology
        self._share: NodeShare = inputs.node_share(node)
        self._report: Reported = inputs.reported(metric.status) if metric is not None else Reported()

    def under(self, config: ConfigCache, now: float) -> Side:
        strategy = config.colocation_of(self._node)
        if strategy is None:
            return Side({}, "there is no usable configuration")
        reason = why_not(config, strategy, self._report, now)
        return Side({}, reason) if reason else self._selling(config, strategy)

    def _selling(self, config: ConfigCache, strategy: ColocationStrategy) -> Side:
        row = inputs.demand_row(self._share, self._pods, self._report)
        demand, rules = batch.Demand.of([row]), batch.Rules.of([batch.rule_row(strategy)])
        calculated = dict(zip((BATCH_CPU, BATCH_MEMORY), batch.batch(demand, rules)[0].tolist(), strict=True))
        ratio = self._normalization(config)
        prepared = prepare.prepare_batch(calculated, self._node.metadata.annotations, ratio)
        mid_row = mid.MidDemand.of([inputs.mid_row(self._share, self._pods, self._report)])
        mids = mid.mid(mid_row, mid.MidRules.of([mid.mid_rule_row(strategy)]))[0].tolist()
        sold = {name: number for name, number in prepared.resources.items() if number is not None}
        return Side(
            sold={**sold, **dict(zip((MID_CPU, MID_MEMORY), mids, strict=True))},
            parts=batch.explain(demand, rules, 0),
            system=(row[4], row[5]),
            reserved=(row[2], row[3]),
            normalization=ratio,
            third_party={} if prepared.problem else prepare.third_party(self._node.annotations),
        )

    def _normalization(self, config: ConfigCache) -> float:
        """As this configuration would write it; as the node carries it where that cannot be told."""
        labels = self._node.labels
        annotations = self._topology.annotations if self._topology else None
        try:
            text = normalization_text(config.normalization.for_labels(labels), labels, annotations)
        except ValueError:
            return prepare.usable_ratio(self._node.annotations)
        return prepare.usable_ratio({keys.CPU_NORMALIZATION_RATIO: text})


def totals(plans: Iterable[NodePlan]) -> tuple[dict[str, int], dict[str, int]]:
    """What all nodes together sell, under the current and the proposed configuration."""
    sums: tuple[dict[str, int], dict[str, int]] = (dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, 0))
    for one in plans:
        for total, side in zip(sums, (one.current, one.proposed), strict=True):
            for name, number in side.sold.items():
                total[name] += number
    return sums
