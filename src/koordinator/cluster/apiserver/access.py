"""Who is somebody, and may he do something? Whoever has the token may do everything, and there is nobody else."""

import hmac
from collections.abc import Iterator

import msgspec

from koordinator.cluster.apiserver.calls import Answer, Call, decode_object
from koordinator.cluster.apiserver.computed import ComputedRules
from koordinator.cluster.apiserver.kinds.base import Json, Kind
from koordinator.cluster.apiserver.kinds.fields import conform
from koordinator.cluster.apiserver.refusals import invalid, required

_GROUPS = ["system:masters", "system:authenticated"]
_EVERYTHING = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
_EVERY_PATH = {"verbs": ["*"], "nonResourceURLs": ["*"]}
_CREATE = ("create",)
_AUTHORIZATION, _AUTHENTICATION = "authorization.k8s.io", "authentication.k8s.io"


def token_reviews(token: str) -> Kind:
    """Components ask here whose the tokens are that they are shown."""
    return Kind(_AUTHENTICATION, "v1", "tokenreviews", "TokenReview", _Bearer(f"Bearer {token}".encode()), False, verbs=_CREATE)


def kinds() -> list[Kind]:
    """The reviews that can be created, but for those of tokens."""
    named = [
        ("selfsubjectaccessreviews", "SelfSubjectAccessReview", _OwnAccess(), False),
        ("subjectaccessreviews", "SubjectAccessReview", _Access(), False),
        ("localsubjectaccessreviews", "LocalSubjectAccessReview", _Access(), True),
        ("selfsubjectrulesreviews", "SelfSubjectRulesReview", _OwnRules(), False),
    ]
    made = [
        Kind(_AUTHORIZATION, "v1", plural, kind, rules, namespaced, verbs=_CREATE) for plural, kind, rules, namespaced in named
    ]
    who = Kind(_AUTHENTICATION, "v1", "selfsubjectreviews", "SelfSubjectReview", _OwnName(), False, verbs=_CREATE)
    return [*made, who]


class _Review(ComputedRules):
    """A question that is posted and comes back with a status."""

    def answer(self, call: Call) -> Answer:
        kind = call.kind
        posted = conform(kind, decode_object(call), strict=call.field_validation == "Strict")
        spec = posted.get("spec")
        spec = spec if isinstance(spec, dict) else {}
        if missing := list(self.missing(spec)):
            raise invalid(kind.kind, kind.group, "", [required(field) for field in missing])
        metadata = posted.get("metadata") or {}
        answered = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata, "spec": spec}
        return Answer(201, msgspec.json.encode({**answered, "status": self.status(call, spec)}))

    def missing(self, spec: Json) -> Iterator[str]:
        """Fields without which there is no question."""
        yield from ()

    def status(self, call: Call, spec: Json) -> Json:
        raise NotImplementedError


class _OwnAccess(_Review):
    def missing(self, spec: Json) -> Iterator[str]:
        if not spec.get("resourceAttributes") and not spec.get("nonResourceAttributes"):
            yield "spec.resourceAttributes"

    def status(self, call: Call, spec: Json) -> Json:
        return {"allowed": True, "reason": "whoever has the cluster's token may do everything"}


class _Access(_OwnAccess):
    def missing(self, spec: Json) -> Iterator[str]:
        yield from super().missing(spec)
        if not spec.get("user") and not spec.get("groups"):
            yield "spec.user"

    def status(self, call: Call, spec: Json) -> Json:
        if spec.get("user") == call.user or "system:masters" in (spec.get("groups") or ()):
            return super().status(call, spec)
        return {"allowed": False, "reason": "only the holder of the cluster's token may do anything; there are no other users"}


class _OwnRules(_Review):
    def status(self, call: Call, spec: Json) -> Json:
        return {"resourceRules": [_EVERYTHING], "nonResourceRules": [_EVERY_PATH], "incomplete": False}


class _OwnName(_Review):
    def status(self, call: Call, spec: Json) -> Json:
        return {"userInfo": {"username": call.user, "groups": _GROUPS}}


class _Bearer(_Review):
    def __init__(self, expected: bytes) -> None:
        self._expected = expected

    def missing(self, spec: Json) -> Iterator[str]:
        if not spec.get("token"):
            yield "spec.token"

    def status(self, call: Call, spec: Json) -> Json:
        if not hmac.compare_digest(f"Bearer {spec['token']}".encode(errors="replace"), self._expected):
            return {"authenticated": False, "error": "invalid bearer token"}
        audiences = {"audiences": spec["audiences"]} if spec.get("audiences") else {}
        return {"authenticated": True, "user": {"username": call.user, "groups": _GROUPS}, **audiences}
