"""The selectors of list and watch requests: read once, refused when a kind does not have the field."""

from collections.abc import Callable
from typing import Any

from koordinator.api import selectors
from koordinator.api.selectors import Selector
from koordinator.kube.refusals import bad_request
from koordinator.kube.semantics.fields import ALWAYS, Fields

Json = dict[str, Any]
Test = Callable[[Json], bool]


def parse(labels: str, fields: str, supported: frozenset[str]) -> tuple[Selector | None, Selector | None]:
    """Label and field selector; None for one that selects everything. Raises: ApiError (400)."""
    try:
        by_label = selectors.parse_labels(labels) if labels else None
        by_field = selectors.parse_fields(fields) if fields else None
    except ValueError as err:
        raise bad_request(str(err)) from None
    for need in by_field.requirements if by_field else ():
        if need.key not in supported and need.key not in ALWAYS:
            raise bad_request(f'field label not supported: "{need.key}"')
    return _some(by_label), _some(by_field)


def _some(selector: Selector | None) -> Selector | None:
    return None if selector is None or selector.everything else selector


def test_of(labels: str, fields: str, kind: Fields) -> Test | None:
    """Both selectors as a question to an object; None when everything is selected. Raises: ApiError (400)."""
    by_label, by_field = parse(labels, fields, kind.names)
    if by_field is None:
        return None if by_label is None else lambda obj: by_label.matches(obj["metadata"].get("labels"))
    named = all(need.key in ALWAYS for need in by_field.requirements)
    read = (lambda _: {}) if named else kind.read

    def test(obj: Json) -> bool:
        metadata = obj["metadata"]
        if by_label is not None and not by_label.matches(metadata.get("labels")):
            return False
        names = {"metadata.name": metadata["name"], "metadata.namespace": metadata.get("namespace", "")}
        return by_field.matches(names | read(obj))

    return test
