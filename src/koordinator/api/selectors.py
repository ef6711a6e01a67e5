"""Which labels a selector selects: the typed form (``matchLabels`` and ``matchExpressions``) of objects."""

from collections.abc import Mapping

from koordinator.api.meta import LabelSelector, LabelSelectorRequirement


def matches(selector: LabelSelector | None, labels: Mapping[str, str]) -> bool:
    """Whether ``labels`` fit. An empty selector fits everything, an absent one nothing; an unknown operator nothing."""
    if selector is None:
        return False
    wanted = selector.match_labels or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _fits(requirement, labels) for requirement in selector.match_expressions or []
    )


def is_empty(selector: LabelSelector | None) -> bool:
    """Whether the selector has no requirement at all (it would select everything, or nothing when absent)."""
    return selector is None or not (selector.match_labels or selector.match_expressions)


def problem(selector: LabelSelector | None) -> str:
    """What is wrong with a selector, naming the field; empty when nothing is."""
    for index, requirement in enumerate(selector.match_expressions or [] if selector else []):
        where = f"matchExpressions[{index}]"
        match requirement.operator:
            case "In" | "NotIn" if not requirement.values:
                return f"{where}.values: must be given when the operator is {requirement.operator}"
            case "Exists" | "DoesNotExist" if requirement.values:
                return f"{where}.values: must be empty when the operator is {requirement.operator}"
            case "In" | "NotIn" | "Exists" | "DoesNotExist":
                continue
            case other:
                return f"{where}.operator: {other!r} is not one of In, NotIn, Exists, DoesNotExist"
    return ""


def _fits(requirement: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in (requirement.values or [])
        case "NotIn":
            return value is None or value not in (requirement.values or [])
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    return False
