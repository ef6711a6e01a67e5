"""Node selector terms against label columns: one comparison per requirement for all rows at once."""

from collections.abc import Callable

import numpy as np

from koordinator.api.core import NodeSelectorRequirement, NodeSelectorTerm
from koordinator.scheduler.engine.columns import Bools, Columns, LabelColumn, Rows

Match = Callable[[Columns, Rows], Bools]
"""Which of the rows match."""

NAME_FIELD = "metadata.name"


def everything(nodes: Columns, rows: Rows) -> Bools:
    return np.ones(len(nodes.alive[rows]), dtype=np.bool_)


def nothing(nodes: Columns, rows: Rows) -> Bools:
    return np.zeros(len(nodes.alive[rows]), dtype=np.bool_)


def all_of(matches: list[Match]) -> Match:
    if len(matches) == 1:
        return matches[0]
    return lambda nodes, rows: np.logical_and.reduce([match(nodes, rows) for match in matches])


def any_of(matches: list[Match]) -> Match:
    if len(matches) == 1:
        return matches[0]
    return lambda nodes, rows: np.logical_or.reduce([match(nodes, rows) for match in matches])


def labels_equal(wanted: dict[str, str], nodes: Columns) -> Match:
    """nodeSelector: every label present with exactly this value."""
    return all_of([_equal(nodes.label(key), value) for key, value in wanted.items()])


def _equal(column: LabelColumn, value: str) -> Match:
    wanted = column.id_of(value)
    return lambda _, rows: column.values[rows] == wanted


def term(wanted: NodeSelectorTerm, nodes: Columns) -> Match:
    """A term: all its expressions and fields. An empty term matches nothing."""
    matches = [requirement(one, nodes.label(one.key)) for one in wanted.match_expressions or ()]
    matches += [requirement(one, nodes.node_names) if one.key == NAME_FIELD else nothing for one in wanted.match_fields or ()]
    return all_of(matches) if matches else nothing


def terms(wanted: list[NodeSelectorTerm], nodes: Columns) -> Match:
    """Terms of a required affinity: any of them; none of none."""
    return any_of([term(one, nodes) for one in wanted]) if wanted else nothing


def requirement(wanted: NodeSelectorRequirement, column: LabelColumn) -> Match:
    """One requirement on one label. An unknown operator or an unreadable bound matches nothing."""
    values = wanted.values or []
    match wanted.operator:
        case "In":
            return _among(column, values)
        case "NotIn":
            among = _among(column, values)
            return lambda nodes, rows: ~among(nodes, rows)
        case "Exists":
            return lambda _, rows: column.values[rows] != 0
        case "DoesNotExist":
            return lambda _, rows: column.values[rows] == 0
        case "Gt" | "Lt" if len(values) == 1:
            return _compared(column, values[0], greater=wanted.operator == "Gt")
    return nothing


def _among(column: LabelColumn, values: list[str]) -> Match:
    if len(values) == 1:
        return _equal(column, values[0])
    ids = np.array([column.id_of(value) for value in values], dtype=np.int32)
    return lambda _, rows: np.isin(column.values[rows], ids)


def _compared(column: LabelColumn, bound: str, *, greater: bool) -> Match:
    limit = column.numbers[column.id_of(bound)]
    if limit is None:
        return nothing
    fits = [False]  # per value id: whether its number lies on the right side; grows with the values met

    def match(_: Columns, rows: Rows) -> Bools:
        fresh = column.numbers[len(fits) :]
        fits.extend(number is not None and (number > limit if greater else number < limit) for number in fresh)
        answer: Bools = np.array(fits)[column.values[rows]]
        return answer

    return match
