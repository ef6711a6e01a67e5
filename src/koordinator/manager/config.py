"""The manager's view of the ConfigMap ``slo-controller-config``: the last good reading of each key.

A text that cannot be read or breaks a rule changes nothing but ``colocation_error``; what was wrong is returned for an event.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from koordinator.api.annotations import Malformed
from koordinator.api.core import Node
from koordinator.api.slo import NodeSLOSpec
from koordinator.api.sloconfig import nodeslo
from koordinator.api.sloconfig.colocation import ColocationStrategy
from koordinator.api.sloconfig.nodeslo import Applications, StrategyKey, resolve_host_applications, system_for_node
from koordinator.api.sloconfig.ratios import (
    CPU_NORMALIZATION_CONFIG,
    DEFAULT_AMPLIFICATION,
    DEFAULT_NORMALIZATION,
    RESOURCE_AMPLIFICATION_CONFIG,
    AmplificationStrategy,
    CPUNormalizationStrategy,
    resolve_amplification,
    resolve_normalization,
)
from koordinator.api.sloconfig.resolve import COLOCATION_CONFIG, Resolved, colocation_for_node, resolve_colocation
from koordinator.api.sloconfig.validation import Invalid

STRATEGIES: Mapping[str, StrategyKey[Any]] = {
    "resource_used_threshold_with_be": nodeslo.RESOURCE_THRESHOLD,
    "resource_qos_strategy": nodeslo.RESOURCE_QOS,
    "cpu_burst_strategy": nodeslo.CPU_BURST,
    "system_strategy": nodeslo.SYSTEM,
}
"""Field of NodeSLO's spec → the key that fills it."""


STAYS = "; the configuration before it stays in force"


class Problem(msgspec.Struct, frozen=True):
    """Something wrong in the ConfigMap, as an event says it."""

    reason: str
    message: str


class Outcome(msgspec.Struct, frozen=True):
    """What a new reading changed."""

    colocation: bool
    slo: bool
    ratios: bool
    problems: tuple[Problem, ...] = ()


class ConfigCache:
    """``colocation`` is None until a first usable configuration was seen."""

    def __init__(self) -> None:
        self.colocation: Resolved[ColocationStrategy] | None = None
        self.colocation_error = False
        self.strategies: dict[str, Resolved[Any]] = {field: Resolved(key.default) for field, key in STRATEGIES.items()}
        self.applications: Resolved[Applications] = Resolved(Applications())
        self.normalization: Resolved[CPUNormalizationStrategy] = Resolved(DEFAULT_NORMALIZATION)
        self.amplification: Resolved[AmplificationStrategy] = Resolved(DEFAULT_AMPLIFICATION)
        self.known = False

    def sync(self, data: Mapping[str, str] | None) -> Outcome:
        """Take in the ConfigMap's data; None when there is no ConfigMap."""
        problems: list[Problem] = []
        colocation = self._sync_colocation(data, problems)
        ratios = self._sync_ratios(data or {}, problems)
        slo = self._sync_slo(data or {}, problems) or not self.known
        self.known = True
        return Outcome(colocation, slo, ratios, tuple(problems))

    def _sync_colocation(self, data: Mapping[str, str] | None, problems: list[Problem]) -> bool:
        read = resolve_colocation((data or {}).get(COLOCATION_CONFIG))
        self.colocation_error = data is None or isinstance(read, Malformed | Invalid)
        if isinstance(read, Malformed):
            problems.append(
                Problem("ColocationCfgUnmarshalFailed", f"failed to unmarshal colocation config, err: {read.reason}")
            )
            return False
        if isinstance(read, Invalid):
            problems.append(Problem("ColocationCfgInvalid", f"{read}{STAYS}"))
            return False
        changed = read != self.colocation
        self.colocation = read
        return changed

    def _sync_ratios(self, data: Mapping[str, str], problems: list[Problem]) -> bool:
        before = (self.normalization, self.amplification)
        normalization = resolve_normalization(data.get(CPU_NORMALIZATION_CONFIG))
        if isinstance(normalization, Malformed):
            message = f"failed to unmarshal CPUNormalizationCfg, err: {normalization.reason}"
            problems.append(Problem("CPUNormalizationCfgUnmarshalFailed", message))
        else:
            self.normalization = normalization
        amplification = resolve_amplification(data.get(RESOURCE_AMPLIFICATION_CONFIG))
        if isinstance(amplification, Malformed):
            message = f"failed to unmarshal amplificationCfg, err: {amplification.reason}"
            problems.append(Problem("ResourceAmplificationCfgUnmarshalFailed", message))
        else:
            self.amplification = amplification
        return before != (self.normalization, self.amplification)

    def _sync_slo(self, data: Mapping[str, str], problems: list[Problem]) -> bool:
        before = (dict(self.strategies), self.applications)
        for field, key in STRATEGIES.items():
            read = key.resolve(data.get(key.key))
            if isinstance(read, Malformed):
                problems.append(_unmarshal_failed(key.label, read))
            else:
                self.strategies[field] = read
        applications = resolve_host_applications(data.get(nodeslo.HOST_APPLICATION_CONFIG))
        if isinstance(applications, Malformed):
            problems.append(_unmarshal_failed("HostApplicationCfg", applications))
        else:
            self.applications = applications
        return before != (self.strategies, self.applications)

    def colocation_of(self, node: Node) -> ColocationStrategy | None:
        """The node's merged strategy; None while there is no configuration."""
        if self.colocation is None:
            return None
        return colocation_for_node(self.colocation, node.metadata.labels, node.metadata.annotations)

    def colocation_enabled(self, strategy: ColocationStrategy) -> bool:
        """The cluster's switch gates every node's own."""
        return self.colocation is not None and self.colocation.cluster.enable is True and strategy.enable is True

    def slo_of(self, node: Node) -> tuple[NodeSLOSpec, Malformed | None]:
        """What the node's NodeSLO shall say, and what of the node could not be read."""
        labels = node.metadata.labels
        parts: dict[str, Any] = {field: config.for_labels(labels) for field, config in self.strategies.items()}
        system = system_for_node(self.strategies["system_strategy"], labels, node.metadata.annotations)
        bad = system if isinstance(system, Malformed) else None
        parts["system_strategy"] = None if bad else system
        applications = self.applications.for_labels(labels).applications or []
        return NodeSLOSpec(**parts, host_applications=applications), bad


def _unmarshal_failed(label: str, bad: Malformed) -> Problem:
    return Problem("SLOCfgUnmarshalFailed", f"failed to unmarshal {label}, err: {bad.reason}")
