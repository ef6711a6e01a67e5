"""How a server says no: the sentences of the real API server, as errors of the client's family.

The embedded server sends them as Status objects, the memory store raises them as they are.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from koordinator.kube.errors import ApiError, api_error


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


def invalid(kind: str, group: str, name: str, errors: list[FieldError]) -> ApiError:
    """422, with every broken rule as a cause."""
    texts = [error.message for error in errors]
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [{"reason": error.reason, "message": error.text, "field": error.path} for error in errors]
    full = f"{kind}.{group}" if group else kind
    return api_error(422, "Invalid", f'{full} "{name}" is invalid: {listed}', _details(name, group, kind) | {"causes": causes})


def not_found(resource: str, group: str, name: str) -> ApiError:
    return api_error(404, "NotFound", f'{_full(resource, group)} "{name}" not found', _details(name, group, resource))


def no_such_path() -> ApiError:
    return api_error(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: str, group: str, name: str) -> ApiError:
    text = f'{_full(resource, group)} "{name}" already exists'
    return api_error(409, "AlreadyExists", text, _details(name, group, resource))


def conflict(resource: str, group: str, name: str, why: str) -> ApiError:
    text = f'Operation cannot be fulfilled on {_full(resource, group)} "{name}": {why}'
    return api_error(409, "Conflict", text, _details(name, group, resource))


def modified(resource: str, group: str, name: str) -> ApiError:
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, group, name, why)


def forbidden(resource: str, group: str, name: str, why: str) -> ApiError:
    text = f'{_full(resource, group)} "{name}" is forbidden: {why}'
    return api_error(403, "Forbidden", text, _details(name, group, resource))


def bad_request(message: str) -> ApiError:
    return api_error(400, "BadRequest", message)


def expired(message: str) -> ApiError:
    return api_error(410, "Expired", message)


def too_large_version(wanted: int, current: int) -> ApiError:
    """A list at a version that is yet to come."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    text = f"Too large resource version: {wanted}, current: {current}"
    return api_error(504, "Timeout", text, {"retryAfterSeconds": 1, "causes": [cause]})


def not_allowed(what: str = "the server does not allow this method on the requested resource") -> ApiError:
    return api_error(405, "MethodNotAllowed", what)


def unsupported_media(message: str) -> ApiError:
    return api_error(415, "UnsupportedMediaType", message)


def _full(resource: str, group: str) -> str:
    return f"{resource}.{group}" if group else resource


def _details(name: str, group: str, kind: str) -> dict[str, Any]:
    return {"name": name, "kind": kind} | ({"group": group} if group else {})
