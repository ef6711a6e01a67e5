"""How the server says no: one exception that carries a Kubernetes Status, and the sentences of the real API server."""

from collections.abc import Iterable
from typing import Any

import msgspec

from koordinator.kube.errors import ApiError


class Refused(ApiError):
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


class FieldError(msgspec.Struct, frozen=True):
    """One broken rule of one field. ``reason`` is the machine's word, ``text`` the sentence."""

    path: str
    reason: str
    text: str

    @property
    def message(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


def shown(value: object) -> str:
    """A value as error messages show it."""
    return msgspec.json.encode(value).decode()


def required(path: str, detail: str = "") -> FieldError:
    return FieldError(path, "FieldValueRequired", "Required value" + (f": {detail}" if detail else ""))


def wrong(path: str, value: object, detail: str) -> FieldError:
    return FieldError(path, "FieldValueInvalid", f"Invalid value: {shown(value)}: {detail}")


def unsupported(path: str, value: object, supported: Iterable[str]) -> FieldError:
    listed = ", ".join(shown(item) for item in supported)
    return FieldError(path, "FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {listed}")


def forbidden_field(path: str, detail: str) -> FieldError:
    return FieldError(path, "FieldValueForbidden", f"Forbidden: {detail}")


def duplicate(path: str, value: object) -> FieldError:
    return FieldError(path, "FieldValueDuplicate", f"Duplicate value: {shown(value)}")


def invalid(kind: str, group: str, name: str, errors: list[FieldError]) -> Refused:
    """422, with every broken rule as a cause."""
    texts = [error.message for error in errors]
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [{"reason": error.reason, "message": error.text, "field": error.path} for error in errors]
    full = f"{kind}.{group}" if group else kind
    return Refused(422, "Invalid", f'{full} "{name}" is invalid: {listed}', _details(name, group, kind) | {"causes": causes})


def not_found(resource: str, group: str, name: str) -> Refused:
    return Refused(404, "NotFound", f'{_full(resource, group)} "{name}" not found', _details(name, group, resource))


def no_such_path() -> Refused:
    return Refused(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: str, group: str, name: str) -> Refused:
    return Refused(409, "AlreadyExists", f'{_full(resource, group)} "{name}" already exists', _details(name, group, resource))


def conflict(resource: str, group: str, name: str, why: str) -> Refused:
    text = f'Operation cannot be fulfilled on {_full(resource, group)} "{name}": {why}'
    return Refused(409, "Conflict", text, _details(name, group, resource))


def modified(resource: str, group: str, name: str) -> Refused:
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, group, name, why)


def forbidden(resource: str, group: str, name: str, why: str) -> Refused:
    text = f'{_full(resource, group)} "{name}" is forbidden: {why}'
    return Refused(403, "Forbidden", text, _details(name, group, resource))


def bad_request(message: str) -> Refused:
    return Refused(400, "BadRequest", message)


def expired(message: str) -> Refused:
    return Refused(410, "Expired", message)


def not_allowed(what: str = "the server does not allow this method on the requested resource") -> Refused:
    return Refused(405, "MethodNotAllowed", what)


def unsupported_media(message: str) -> Refused:
    return Refused(415, "UnsupportedMediaType", message)


def unavailable(message: str) -> Refused:
    return Refused(503, "ServiceUnavailable", message)


def broken(message: str) -> Refused:
    return Refused(500, "InternalError", f"Internal error occurred: {message}")


def _full(resource: str, group: str) -> str:
    return f"{resource}.{group}" if group else resource


def _details(name: str, group: str, kind: str) -> dict[str, Any]:
    return {"name": name, "kind": kind} | ({"group": group} if group else {})
