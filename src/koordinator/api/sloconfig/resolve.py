"""From the ConfigMap's texts to the strategy of one node.

A text that cannot be read is a ``Malformed``, a strategy that breaks a rule an ``Invalid``; both are values, and the caller
keeps what it had. Within a key the first entry whose selector matches the node wins; entries are never combined.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from koordinator.api import keys, numbers, selectors, wirejson
from koordinator.api.annotations import Annotation, Malformed, Text
from koordinator.api.meta import LabelSelector
from koordinator.api.sloconfig import colocation, validation
from koordinator.api.sloconfig.colocation import ColocationConfig, ColocationStrategy
from koordinator.api.sloconfig.overlay import overlay
from koordinator.api.sloconfig.validation import Invalid

S = TypeVar("S", bound=msgspec.Struct)

COLOCATION_CONFIG = "colocation-config"

NODE_STRATEGY: Annotation[ColocationStrategy] = Annotation(
    keys.COLOCATION_STRATEGY,
    ColocationStrategy,
    "Node annotation",
    "Co-location strategy of this node, laid over the ConfigMap's.",
)


def _percent(text: str) -> int:
    """A share of 0 or more, such as 0.6. Raises ValueError. As a percent it is cut off: 0.29 × 100 is 28."""
    share = numbers.decimal_float(text)
    if not math.isfinite(share) or share < 0:
        raise ValueError(f"{text!r} is not a share of 0 or more")
    return int(share * 100)


CPU_RECLAIM_RATIO = Text(keys.CPU_RECLAIM_RATIO, _percent, "Node label", "Share of CPU that may be sold to batch pods, as 0.6.")
MEMORY_RECLAIM_RATIO = Text(
    keys.MEMORY_RECLAIM_RATIO, _percent, "Node label", "Share of memory that may be sold to batch pods."
)
MID_STATIC_CPU_RESERVED_RATIO = Text(
    keys.MID_STATIC_CPU_RESERVED_RATIO, _percent, "Node label", "Share of CPU that is always offered to mid pods."
)
MID_STATIC_MEMORY_RESERVED_RATIO = Text(
    keys.MID_STATIC_MEMORY_RESERVED_RATIO, _percent, "Node label", "Share of memory that is always offered to mid pods."
)
_RATIO_LABELS = {
    "cpu_reclaim_threshold_percent": CPU_RECLAIM_RATIO,
    "memory_reclaim_threshold_percent": MEMORY_RECLAIM_RATIO,
    "mid_static_cpu_reserved_percent": MID_STATIC_CPU_RESERVED_RATIO,
    "mid_static_memory_reserved_percent": MID_STATIC_MEMORY_RESERVED_RATIO,
}


class Entry(Protocol):
    """One exception for some nodes."""

    name: str
    node_selector: LabelSelector | None


class Override(msgspec.Struct, Generic[S], frozen=True):
    """A whole strategy for the nodes that ``selector`` matches. ``selector`` is NOTHING where the text's cannot be used."""

    name: str
    selector: selectors.Selector
    strategy: S


class Resolved(msgspec.Struct, Generic[S], frozen=True):
    """One key of the ConfigMap with every default filled in."""

    cluster: S
    overrides: tuple[Override[S], ...] = ()

    def for_labels(self, labels: Mapping[str, str] | None) -> S:
        """The strategy of a node with these labels: the first override that matches, else the cluster's."""
        return next((one.strategy for one in self.overrides if one.selector.matches(labels)), self.cluster)


def read_text(key: str, text: str, type_: Any) -> Any:
    """``text`` as ``type_``, or ``Malformed``. A bare ``null`` is not a configuration."""
    if text.strip() == "null":
        return Malformed(key, text, "null is not a configuration")
    try:
        return wirejson.decode(text, type_)
    except ValueError as err:
        return Malformed(key, text, str(err))


def merge(default: S, cluster: msgspec.Struct | None, entries: Sequence[Any] | None) -> Resolved[S]:
    """The cluster's part over the default, and each entry over that."""
    base = overlay(default, cluster)
    return Resolved(base, tuple(Override(one.name, selector_of(one), overlay(base, one)) for one in entries or ()))


def selector_of(entry: Entry) -> selectors.Selector:
    """An absent or wrong selector matches nothing, an empty one everything."""
    try:
        return selectors.compile_(entry.node_selector)
    except ValueError:
        return selectors.NOTHING


def resolve_colocation(text: str | None) -> Resolved[ColocationStrategy] | Malformed | Invalid:
    """``colocation-config``; an absent or empty text is the default. A wrong entry becomes the cluster's strategy."""
    if not text:
        return Resolved(colocation.DEFAULT)
    config = read_text(COLOCATION_CONFIG, text, ColocationConfig)
    if isinstance(config, Malformed):
        return config
    merged = merge(colocation.DEFAULT, config, config.node_configs)
    if problems := validation.colocation_problems(merged.cluster):
        return Invalid(COLOCATION_CONFIG, problems)
    kept = (
        one if not validation.colocation_problems(one.strategy) else _reset(one, merged.cluster) for one in merged.overrides
    )
    return Resolved(merged.cluster, tuple(kept))


def colocation_for_node(
    config: Resolved[ColocationStrategy], labels: Mapping[str, str] | None, annotations: Mapping[str, str] | None
) -> ColocationStrategy:
    """The node's strategy: config, then the node's annotation, then its ratio labels. What cannot be read is left out."""
    strategy = config.for_labels(labels)
    own = NODE_STRATEGY.read(annotations)
    if own is not None and not isinstance(own, Malformed):
        strategy = overlay(strategy, own)
    percents = {field: percent for field, label in _RATIO_LABELS.items() if isinstance(percent := label.read(labels), int)}
    return msgspec.structs.replace(strategy, **percents) if percents else strategy


def _reset(override: Override[S], cluster: S) -> Override[S]:
    return Override(override.name, override.selector, cluster)
