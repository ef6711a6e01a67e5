"""How the server says no: a Status instead of an object. The sentences are shared with the memory store."""

from typing import Any

from koordinator.kube.errors import ApiError
from koordinator.kube.refusals import (
    FieldError,
    already_exists,
    bad_request,
    conflict,
    duplicate,
    expired,
    forbidden,
    forbidden_field,
    invalid,
    modified,
    no_such_path,
    not_allowed,
    not_found,
    required,
    shown,
    too_large_version,
    unsupported,
    unsupported_media,
    wrong,
)

__all__ = [
    "FieldError",
    "Refused",
    "already_exists",
    "bad_request",
    "broken",
    "conflict",
    "duplicate",
    "expired",
    "forbidden",
    "forbidden_field",
    "invalid",
    "modified",
    "no_such_path",
    "not_allowed",
    "not_found",
    "required",
    "shown",
    "status_of",
    "too_large_version",
    "unavailable",
    "unsupported",
    "unsupported_media",
    "wrong",
]

Refused = ApiError
"""A request that is answered with a Status instead of an object."""


def status_of(err: ApiError) -> dict[str, Any]:
    """The Status object that answers a refused request."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": str(err),
        "reason": err.reason,
        "details": err.details,
        "code": err.code or 500,
    }


def unavailable(message: str) -> Refused:
    return Refused(503, "ServiceUnavailable", message)


def broken(message: str) -> Refused:
    return Refused(500, "InternalError", f"Internal error occurred: {message}")
