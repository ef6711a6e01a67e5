"""The selectors of list and watch requests as one predicate over what the store indexes."""

from collections.abc import Callable

from koordinator.api import selectors
from koordinator.cluster.apiserver.refusals import bad_request
from koordinator.cluster.apiserver.store import Entry

EntryTest = Callable[[Entry], bool]

_ALWAYS = frozenset({"metadata.name", "metadata.namespace"})


def entry_test(label_selector: str, field_selector: str, supported: frozenset[str]) -> EntryTest | None:
    """Both selectors; None when everything is selected. Raises: Refused (400)."""
    try:
        labels = selectors.parse_labels(label_selector) if label_selector else None
        fields = selectors.parse_fields(field_selector) if field_selector else None
    except ValueError as err:
        raise bad_request(str(err)) from None
    if fields is None or fields.everything:
        return None if labels is None or labels.everything else lambda entry: labels.matches(entry.labels)
    if unknown := [need.key for need in fields.requirements if need.key not in supported and need.key not in _ALWAYS]:
        raise bad_request(f'field label not supported: "{unknown[0]}"')
    if labels is None or labels.everything:
        return lambda entry: fields.matches(_fields(entry))
    return lambda entry: labels.matches(entry.labels) and fields.matches(_fields(entry))


def _fields(entry: Entry) -> dict[str, str]:
    return {"metadata.name": entry.name, "metadata.namespace": entry.namespace, **entry.fields}
