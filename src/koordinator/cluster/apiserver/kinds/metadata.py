"""Names, labels and annotations: what Kubernetes allows, and the sentences with which it refuses the rest."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from koordinator.cluster.apiserver.kinds.base import Json, Kind
from koordinator.cluster.apiserver.refusals import FieldError, required, wrong

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_IS_LABEL = re.compile(_LABEL, re.ASCII).fullmatch
_IS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII).fullmatch
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_IS_QUALIFIED = re.compile(_QUALIFIED, re.ASCII).fullmatch
_ANNOTATIONS_LIMIT = 256 * 1024

LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    f"alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    f"with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_QUALIFIED_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    f"character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED}')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with "
    "an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def label_error(name: str) -> str:
    """Why this is no DNS label, or nothing."""
    if len(name) > 63:
        return "must be no more than 63 characters"
    return "" if _IS_LABEL(name) else LABEL_RULE


def subdomain_error(name: str) -> str:
    """Why this is no DNS subdomain, or nothing."""
    if len(name) > 253:
        return "must be no more than 253 characters"
    return "" if _IS_SUBDOMAIN(name) else SUBDOMAIN_RULE


def path_error(name: str) -> str:
    """Why this cannot be a segment of a path, or nothing."""
    if name in (".", ".."):
        return f"may not be '{name}'"
    return next((f"may not contain '{char}'" for char in "/%" if char in name), "")


@lru_cache(maxsize=8192)
def qualified_error(key: str) -> str:
    """Why this is no label or annotation key, or nothing."""
    prefix, slash, name = key.rpartition("/")
    if slash and (not prefix or subdomain_error(prefix)):
        return "prefix part " + (subdomain_error(prefix) if prefix else "must be non-empty")
    if not name:
        return "name part must be non-empty"
    if len(name) > 63:
        return "name part must be no more than 63 characters"
    return "" if _IS_QUALIFIED(name) else _QUALIFIED_RULE


@lru_cache(maxsize=8192)
def label_value_error(value: str) -> str:
    if len(value) > 63:
        return "must be no more than 63 characters"
    return "" if not value or _IS_QUALIFIED(value) else _VALUE_RULE


def label_errors(labels: Any, path: str) -> Iterator[FieldError]:
    for key, value in (labels or {}).items():
        if why := qualified_error(key):
            yield wrong(path, key, why)
        if why := label_value_error(value):
            yield wrong(path, value, why)


def errors(kind: Kind, metadata: Json) -> Iterator[FieldError]:
    """What is wrong with the metadata of a new or changed object."""
    name = metadata.get("name", "")
    if not name:
        yield required("metadata.name", "name or generateName is required")
    elif why := _name_error(kind, name):
        yield wrong("metadata.name", name, why)
    if labels := metadata.get("labels"):
        yield from label_errors(labels, "metadata.labels")
    if annotations := metadata.get("annotations"):
        yield from _annotation_errors(annotations)
    for finalizer in metadata.get("finalizers") or ():
        if why := qualified_error(finalizer):
            yield wrong("metadata.finalizers", finalizer, why)
    yield from _owner_errors(metadata.get("ownerReferences") or ())


def _name_error(kind: Kind, name: str) -> str:
    if kind.rules.path_names:
        return path_error(name)
    return label_error(name) if kind.rules.label_names else subdomain_error(name)


def _annotation_errors(annotations: dict[str, str]) -> Iterator[FieldError]:
    for key in annotations:
        if why := qualified_error(key.lower()):
            yield wrong("metadata.annotations", key, why)
    size = sum(len(key) + len(value) for key, value in annotations.items())
    if size > _ANNOTATIONS_LIMIT:
        text = f"Too long: may not be more than {_ANNOTATIONS_LIMIT} bytes"
        yield FieldError("metadata.annotations", "FieldValueTooLong", text)


def _owner_errors(owners: Any) -> Iterator[FieldError]:
    for index, owner in enumerate(owners):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield required(f"metadata.ownerReferences[{index}].{field}", "must not be empty")
    if sum(bool(owner.get("controller")) for owner in owners) > 1:
        detail = "Only one reference can have Controller set to true"
        yield wrong("metadata.ownerReferences", [owner.get("name") for owner in owners], detail)
