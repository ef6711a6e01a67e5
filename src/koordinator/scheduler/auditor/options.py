"""What the command line says about the workload auditor."""

import re

import msgspec

from koordinator.errors import ConfigInvalid
from koordinator.scheduler.auditor.story import Thresholds

FLAG = "--workload-auditor-metric-labels"
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_TAKEN = ("priority", "event_type", "outcome", "le")


class AuditorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``labels``: names of metric labels, each with the pod label that gives its value."""

    thresholds: Thresholds = Thresholds()
    labels: tuple[tuple[str, str], ...] = ()


def parse_labels(text: str) -> tuple[tuple[str, str], ...]:
    """``metricLabel=podLabelKey,...``. Raises ConfigInvalid."""
    pairs: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, key = (part.strip() for part in item.partition("="))
        if not key or not _NAME.fullmatch(name):
            raise _invalid(item, "must be metricLabel=podLabelKey")
        if name in pairs or name in _TAKEN:
            raise _invalid(item, f"{name} is a label already")
        pairs[name] = key
    return tuple(pairs.items())


def _invalid(item: str, rule: str) -> ConfigInvalid:
    return ConfigInvalid(FLAG, item, rule, "koord-scheduler does not start")
