"""What the ConfigMap webhook says of one changed key: parse, selectors, ranges, network sums, names, overlaps.

Reasons and messages are part of the protocol, the misspelt ones too.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from koordinator.api import selectors, wirejson
from koordinator.api.annotations import Malformed
from koordinator.api.sloconfig import nodeslo, rules
from koordinator.api.sloconfig.colocation import ColocationConfig
from koordinator.api.sloconfig.network import network_problem
from koordinator.api.sloconfig.resolve import COLOCATION_CONFIG, Entry, read_text, selector_of
from koordinator.api.sloconfig.validation import Problem

PARSE_FAILED = "ParseConfigFail"
PARAMETER_INVALID = "ConfigParamInvalid"
OVERLAP = "NodeStrategiesOverlap"
CONFLICT = "ExistNodeConfict"  # the wire's own spelling

_MAX_VIRTUAL_NODES = 10_000
_ABBREVIATION = re.compile(r"(cpu|cfs|cat|mba|lsr|ls|be)(?=[A-Z])")


class Refusal(msgspec.Struct, frozen=True):
    """Why a configuration is not accepted. ``message`` is a text or a JSON object."""

    reason: str
    message: str | dict[str, Any]

    def __str__(self) -> str:
        return f"___{wirejson.encode(self)}___"


class Checked(msgspec.Struct, frozen=True):
    """One key that webhooks know: how it is read, and what its parts are called in messages."""

    key: str
    type: Any
    title: str
    path: str
    node_path: str


CHECKED = {
    one.key: one
    for one in (
        Checked(
            COLOCATION_CONFIG, ColocationConfig, "colocation", "ColocationCfg.ColocationStrategy", "ColocationCfg.NodeConfigs"
        ),
        Checked(
            nodeslo.RESOURCE_THRESHOLD_CONFIG,
            nodeslo.ResourceThresholdConfig,
            "resourceThreshold",
            "ResourceThresholdCfg.ClusterStrategy",
            "ResourceThresholdCfg.NodeStrategies",
        ),
        Checked(
            nodeslo.RESOURCE_QOS_CONFIG,
            nodeslo.ResourceQOSConfig,
            "ResourceQOS",
            "ResourceQOSCfg.ClusterStrategy",
            "ResourceQOSCfg.NodeStrategies",
        ),
        Checked(
            nodeslo.SYSTEM_CONFIG,
            nodeslo.SystemConfig,
            "System",
            "SystemCfg.ClusterStrategy",
            "SystemCfg.NodeStrategies",
        ),
        Checked(
            nodeslo.CPU_BURST_CONFIG,
            nodeslo.CPUBurstNodeConfig,
            "CpuBurst",
            "CPUBurstCfg.ClusterStrategy",
            "CPUBurstCfg.NodeStrategies",
        ),
    )
}
"""In the order in which they are checked."""


def review(key: str, data: Mapping[str, str], *, where: str = "", names_needed: bool = False) -> Refusal | None:
    """The first thing wrong with ``data[key]``. ``where`` is the ConfigMap's ``namespace/name`` for messages."""
    checked = CHECKED[key]
    config = _parse(checked, data, where)
    if isinstance(config, Refusal):
        return config
    nodes = entries(config)
    problem = _selector_problem(key, nodes) or _value_problem(checked, config)
    if not problem and key == nodeslo.RESOURCE_QOS_CONFIG:
        system = _parse(CHECKED[nodeslo.SYSTEM_CONFIG], data, where, of=checked)
        if isinstance(system, Refusal):
            return system
        problem = network_problem(config, system)
    problem = problem or (_name_problem(key, nodes) if names_needed else "")
    if problem:
        return Refusal(PARAMETER_INVALID, problem)
    if overlap := overlapping(nodes):
        return Refusal(OVERLAP, {"config": key, "strategies": list(overlap)})
    return None


def review_all(
    data: Mapping[str, str],
    old: Mapping[str, str] | None,
    nodes: Callable[[], Iterable[tuple[str, Mapping[str, str]]]],
    *,
    where: str = "",
    names_needed: bool = False,
) -> Refusal | None:
    """The first thing wrong with the keys that ``old`` does not have the same. ``nodes`` gives names and labels when needed."""
    changed = [key for key in CHECKED if data.get(key) and data[key] != (old or {}).get(key)]
    for key in changed:
        if refusal := review(key, data, where=where, names_needed=names_needed):
            return refusal
    several = [key for key in changed if len(entries(_parse(CHECKED[key], data, where))) > 1]
    found = list(nodes()) if several else []
    return next(filter(None, (conflict(key, data[key], found) for key in several)), None)


def conflict(key: str, text: str, nodes: Iterable[tuple[str, Mapping[str, str]]]) -> Refusal | None:
    """The first of ``nodes`` (name and labels) that more than one entry selects. ``text`` has passed ``review``."""
    config = read_text(key, text, CHECKED[key].type)
    compiled = [] if isinstance(config, Malformed) else [(one.name, selector_of(one)) for one in entries(config)]
    if len(compiled) < 2:
        return None
    for name, labels in nodes:
        if len(names := matching(compiled, labels)) > 1:
            return Refusal(CONFLICT, {"config": key, "strategies": list(names), "exampleNodes": [name]})
    return None


def entries(config: msgspec.Struct) -> Sequence[Any]:
    """The node entries of a configuration, whatever their field is called."""
    found: Sequence[Any] | None = getattr(config, "node_configs", None) or getattr(config, "node_strategies", None)
    return found or ()


def overlapping(nodes: Sequence[Entry]) -> tuple[str, ...]:
    """Names of entries that one node could match at the same time; empty when none can, as far as made-up nodes show."""
    compiled = [(one.name, selector_of(one)) for one in nodes]
    if len(compiled) < 2:
        return ()
    for node in nodes:
        for labels in _virtual_nodes(node):
            if len(names := matching(compiled, labels)) > 1:
                return names
    return ()


def matching(compiled: Iterable[tuple[str, selectors.Selector]], labels: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the entries that select a node with these labels."""
    return tuple(name for name, selector in compiled if selector.matches(labels))


def _parse(checked: Checked, data: Mapping[str, str], where: str, of: Checked | None = None) -> Any:
    config = read_text(checked.key, data.get(checked.key, ""), checked.type)
    if isinstance(config, Malformed):
        title = (of or checked).title
        return Refusal(PARSE_FAILED, f"Failed to parse {title} config in configmap {where}, err: {config.reason}")
    return config


def _selector_problem(key: str, nodes: Sequence[Entry]) -> str:
    for node in nodes:
        if selectors.is_empty(node.node_selector):
            return f"nodeConfigs NodeSelector must not empty error! configType: {key},nodeConfig name:{node.name}"
        try:
            selectors.compile_(node.node_selector)
        except ValueError as err:
            return f"failed to parse node selector: {err}"
    return ""


def _value_problem(checked: Checked, config: msgspec.Struct) -> dict[str, Any] | str:
    cluster = config if checked.key == COLOCATION_CONFIG else getattr(config, "cluster_strategy", None)
    found = list(rules.problems(cluster, checked.path)) if cluster is not None else []
    for index, node in enumerate(entries(config)):
        found += rules.problems(node, f"{checked.node_path}[{index}]")
    return dict(map(_worded, found)) if found else ""


def _worded(problem: Problem) -> tuple[str, str]:
    """Path and rule with the field names that the webhook's clients know: capitals first, abbreviations in capitals."""
    path = ".".join(map(_capitalised, problem.field.split(".")))
    rule = " ".join(_capitalised(word) if word.endswith("Percent") else word for word in problem.rule.split(" "))
    return path, f"{path.rpartition('.')[2]} {rule}"


def _capitalised(name: str) -> str:
    if match := _ABBREVIATION.match(name):
        return match[0].upper() + name[match.end() :]
    return name[:1].upper() + name[1:]


def _name_problem(key: str, nodes: Sequence[Entry]) -> str:
    seen: set[str] = set()
    for node in nodes:
        if not node.name:
            return f"nodeConfig Name need! configType:{key}"
        if node.name in seen:
            return f"nodeConfig Name confilict, configType:{key},nodeConfig Name:{node.name}! "
        seen.add(node.name)
    return ""


def _virtual_nodes(entry: Entry) -> Iterable[dict[str, str]]:
    """Labels of made-up nodes that the entry is after: its labels, and each listed value of its expressions in turn."""
    if entry.node_selector is None:
        return
    listed = [(one.key, one.values) for one in entry.node_selector.match_expressions or [] if one.values]
    count = math.lcm(*(len(values) for _, values in listed))  # the rotation repeats after this many
    for index in range(min(count, _MAX_VIRTUAL_NODES)):
        rotated = {key: values[index % len(values)] for key, values in listed}
        yield {**(entry.node_selector.match_labels or {}), **rotated}
