"""Which combinations of ``resourceVersion``, ``resourceVersionMatch``, ``continue`` and ``sendInitialEvents`` make sense."""

from collections.abc import Iterator, Mapping

from koordinator.cluster.apiserver.refusals import FieldError, forbidden_field, invalid, unsupported

_MATCHES = ("Exact", "NotOlderThan")


def check_list(query: Mapping[str, str]) -> None:
    """Raises: Refused (422)."""
    if problems := list(_list_problems(query)):
        raise invalid("ListOptions", "meta.k8s.io", "", problems)


def check_watch(query: Mapping[str, str]) -> None:
    """Raises: Refused (422)."""
    if problems := list(_watch_problems(query)):
        raise invalid("ListOptions", "meta.k8s.io", "", problems)


def _list_problems(query: Mapping[str, str]) -> Iterator[FieldError]:
    match, version = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
    if query.get("sendInitialEvents"):
        yield forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list")
    if not match:
        return
    if query.get("continue"):
        yield forbidden_field("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
    if not version:
        yield forbidden_field("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided")
    if match not in _MATCHES:
        yield unsupported("resourceVersionMatch", match, _MATCHES)
    elif match == "Exact" and version == "0":
        detail = 'resourceVersionMatch "Exact" is forbidden for resourceVersion "0"'
        yield forbidden_field("resourceVersionMatch", detail)


def _watch_problems(query: Mapping[str, str]) -> Iterator[FieldError]:
    match = query.get("resourceVersionMatch", "")
    if query.get("sendInitialEvents"):
        if match != "NotOlderThan":
            detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            yield forbidden_field("resourceVersionMatch", detail)
    elif match:
        detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        yield forbidden_field("resourceVersionMatch", detail)
