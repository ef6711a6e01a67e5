"""What an API server can answer besides an object, as exceptions.

ApiError                 any refusal; ``code`` is the HTTP status, 0 when no answer came
├── Unauthorized         401
├── Forbidden            403
├── NotFound             404
├── AlreadyExists        409 on create
├── Conflict             409 on everything else: somebody wrote in between
├── Gone                 410: the resource version is too old, list again
├── Invalid              422
├── TooManyRequests      429, after the retries are used up; a disruption budget's veto of an eviction, at once
├── ServerUnavailable    503, 504, or no answer at all
└── Unreadable           an answer came, and it is not what the kind's type says

The embedded API server raises the same family, so one table maps errors to status codes and back.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from koordinator.api.meta import Status
from koordinator.errors import KoordError


class ApiError(KoordError):
    """The API server said no."""

    def __init__(self, code: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message or reason or f"HTTP {code}")
        self.code, self.reason, self.message, self.details = code, reason, message, dict(details or {})

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asked to wait before another attempt."""
        seconds = self.details.get("retryAfterSeconds")
        return float(seconds) if isinstance(seconds, int | float) and seconds > 0 else None


class Unauthorized(ApiError):
    """Who are you?"""


class Forbidden(ApiError):
    """You may not."""


class NotFound(ApiError):
    """No such object, or no such kind."""


class AlreadyExists(ApiError):
    """An object of this name is there."""


class Conflict(ApiError):
    """The object has changed since it was read, or a precondition failed."""


class Gone(ApiError):
    """The resource version, or the continue token, is older than what the server remembers."""


class Invalid(ApiError):
    """The object breaks a rule of its kind."""


class TooManyRequests(ApiError):
    """Slow down; or: evicting this pod would break its disruption budget."""


class Unreadable(ApiError):
    """The answer does not fit the type of its kind."""


class ServerUnavailable(ApiError):
    """No answer, or none of use. ``outcome_unknown``: the request may have been carried out all the same."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        *,
        outcome_unknown: bool = False,
    ) -> None:
        super().__init__(code, reason, message, details)
        self.outcome_unknown = outcome_unknown


BY_REASON: Mapping[str, type[ApiError]] = {
    "Unauthorized": Unauthorized,
    "Forbidden": Forbidden,
    "NotFound": NotFound,
    "AlreadyExists": AlreadyExists,
    "Conflict": Conflict,
    "Gone": Gone,
    "Expired": Gone,
    "Invalid": Invalid,
    "TooManyRequests": TooManyRequests,
    "ServiceUnavailable": ServerUnavailable,
    "Timeout": ServerUnavailable,
}
BY_CODE: Mapping[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
    503: ServerUnavailable,
    504: ServerUnavailable,
}


def api_error(code: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> ApiError:
    """The error of the family that fits: by reason if the server named a known one, else by HTTP status."""
    cls = BY_REASON.get(reason) or BY_CODE.get(code, ApiError)
    return cls(code, reason, message, details)


def from_status(status: Status) -> ApiError:
    return api_error(status.code, status.reason, status.message, status.details)


def from_response(code: int, body: bytes, retry_after: str | None = None) -> ApiError:
    """The error that an HTTP answer stands for, whether or not its body is a Status."""
    try:
        status = msgspec.json.decode(body, type=Status)
    except msgspec.DecodeError:
        status = Status()
    if status.kind != "Status" or not (status.reason or status.message):
        text = body[:200].decode(errors="replace").strip()
        status = Status(message=f"HTTP {code}" + (f": {text}" if text else ""))
    details = dict(status.details or {})
    if retry_after and retry_after.isdigit():
        details["retryAfterSeconds"] = int(retry_after)
    return api_error(code, status.reason, status.message, details)
