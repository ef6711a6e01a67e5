"""``x-kubernetes-validations``: the rules of a schema that are written in CEL, and what they say when they are broken."""

from collections.abc import Iterator
from typing import Any

import msgspec

from koordinator.cluster.apiserver.refusals import FieldError
from koordinator.kube.semantics.cel import CelError, Program, compile_, optional

Json = dict[str, Any]
Old = tuple[Any, ...] | None
"""What a value was: one item, or none where it was not there. None while it is looked at alone."""
_VARIABLES = frozenset({"self", "oldSelf"})
_REASONS = {
    "FieldValueInvalid": "FieldValueInvalid",
    "FieldValueForbidden": "FieldValueForbidden",
    "FieldValueRequired": "FieldValueRequired",
    "FieldValueDuplicate": "FieldValueDuplicate",
}
_PREFIX = {
    "FieldValueForbidden": "Forbidden: ",
    "FieldValueRequired": "Required value: ",
}


class Validation(msgspec.Struct, frozen=True):
    """One rule, compiled when its definition is stored."""

    program: Program
    message: str
    message_program: Program | None
    reason: str
    field_path: str
    optional_old: bool  # the old value is an optional one, and the rule counts where there is none, too

    @property
    def compares(self) -> bool:
        """It speaks of the old value too."""
        return "oldSelf" in self.program.variables

    def check(self, value: Any, old: Old, path: str) -> FieldError | None:
        values = {"self": value}
        if self.compares:
            values["oldSelf"] = optional(*old or ()) if self.optional_old else old[0] if old else None
        try:
            if self.program(values) is True:
                return None
            said = self._said(values)
        except CelError as err:
            said = f"rule failed: {err}"
        place = f"{path}{self.field_path}".lstrip(".")
        prefix = _PREFIX.get(self.reason) or f'Invalid value: "{_type_name(value)}": '
        return FieldError(place, self.reason, prefix + said)

    def _said(self, values: dict[str, Any]) -> str:
        if self.message_program is not None:
            try:
                text = self.message_program(values)
                if isinstance(text, str) and text.strip() and "\n" not in text:
                    return text
            except CelError:
                pass  # the fixed message says enough
        return self.message or f"failed rule: {self.program.source}"


def compile_all(schema: Json) -> tuple[Validation, ...]:
    """The rules of one schema node. Raises: ValueError."""
    return tuple(_compile(raw) for raw in schema.get("x-kubernetes-validations") or ())


def _compile(raw: Json) -> Validation:
    rule = raw.get("rule") or ""
    if not rule.strip():
        raise ValueError("x-kubernetes-validations: rule is required")
    reason = raw.get("reason") or "FieldValueInvalid"
    if reason not in _REASONS:
        raise ValueError(f"x-kubernetes-validations: reason {reason!r} is not one of {', '.join(_REASONS)}")
    message = raw.get("messageExpression") or ""
    try:
        program = compile_(rule, _VARIABLES)
        said = compile_(message, _VARIABLES) if message else None
    except CelError as err:
        raise ValueError(f"x-kubernetes-validations: rule {rule!r}: {err}") from None
    optional_old = raw.get("optionalOldSelf") is True
    return Validation(program, raw.get("message") or "", said, reason, raw.get("fieldPath") or "", optional_old)


def broken(rules: tuple[Validation, ...], value: Any, path: str, old: Old = None) -> Iterator[FieldError]:
    """What the rules say: those about the value alone without ``old``, those that compare with it."""
    for rule in rules:
        if rule.compares is (old is not None) and (old != () or rule.optional_old):
            problem = rule.check(value, old, path)
            if problem is not None:
                yield problem


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names: tuple[tuple[Any, str], ...] = (
        (dict, "object"),
        (list, "array"),
        (str, "string"),
        (int, "integer"),
        (float, "number"),
    )
    return next((name for type_, name in names if isinstance(value, type_)), "null")
