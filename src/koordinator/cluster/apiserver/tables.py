"""Server-side tables: the columns that ``kubectl get`` prints."""

from typing import Any

from koordinator.cluster.apiserver.kinds.base import Column, Json, Kind
from koordinator.cluster.apiserver.kinds.columns import AGE

_NAME = Column(
    "Name", lambda obj, _: obj["metadata"]["name"], format="name", description="Name must be unique within a namespace."
)


def table(kind: Kind, objects: list[Json], now: float, meta: Json, include: str) -> Json:
    """A meta.k8s.io/v1 Table of objects. ``include`` is None, Metadata or Object: what every row carries along."""
    columns = (_NAME, *(kind.rules.columns or (AGE,)))
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": [_definition(column) for column in columns],
        "rows": [_row(columns, obj, now, include) for obj in objects],
    }


def partial(obj: Json) -> Json:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _definition(column: Column) -> Json:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }


def _row(columns: tuple[Column, ...], obj: Json, now: float, include: str) -> Json:
    row: Json = {"cells": [_cell(column, obj, now) for column in columns]}
    if include == "Object":
        row["object"] = obj
    elif include != "None":
        row["object"] = partial(obj)
    return row


def _cell(column: Column, obj: Json, now: float) -> Any:
    """A cell must never cost the whole list: an object that does not fit shows a question mark."""
    try:
        return column.cell(obj, now)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return "<unknown>"
