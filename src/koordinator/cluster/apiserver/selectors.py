"""The selectors of list and watch requests as one predicate over what the store indexes."""

from collections.abc import Callable

from koordinator.cluster.apiserver.store import Entry
from koordinator.kube.semantics.selection import parse

EntryTest = Callable[[Entry], bool]


def entry_test(label_selector: str, field_selector: str, supported: frozenset[str]) -> EntryTest | None:
    """Both selectors; None when everything is selected. Raises: Refused (400)."""
    labels, fields = parse(label_selector, field_selector, supported)
    if fields is None:
        return None if labels is None else lambda entry: labels.matches(entry.labels)
    if labels is None:
        return lambda entry: fields.matches(_fields(entry))
    return lambda entry: labels.matches(entry.labels) and fields.matches(_fields(entry))


def _fields(entry: Entry) -> dict[str, str]:
    return {"metadata.name": entry.name, "metadata.namespace": entry.namespace, **entry.fields}
