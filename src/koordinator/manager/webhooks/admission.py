"""AdmissionReview on the wire: the question, the answer, and the shape in which both travel."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from koordinator.api.meta import Struct

_NOTHING = msgspec.Raw(b"null")


class GroupVersionResource(Struct):
    group: str = ""
    version: str = ""
    resource: str = ""


class UserInfo(Struct):
    username: str = ""
    groups: list[str] | None = None


class Request(Struct):
    """One question of the API server. Objects stay raw until a handler wants them."""

    uid: str = ""
    resource: GroupVersionResource = msgspec.field(default_factory=GroupVersionResource)
    sub_resource: str = ""
    name: str = ""
    namespace: str = ""
    operation: str = ""
    user_info: UserInfo = msgspec.field(default_factory=UserInfo)
    object: msgspec.Raw = _NOTHING
    old_object: msgspec.Raw = _NOTHING
    dry_run: bool | None = None

    def concerns(self, resource: str, group: str = "", subresource: str = "") -> bool:
        """Whether the question is about this resource, in whatever version. Others' resources may bear the same name."""
        asked = self.resource
        return (asked.group, asked.resource, self.sub_resource) == (group, resource, subresource)

    @property
    def has_object(self) -> bool:
        return bytes(self.object) != b"null"

    @property
    def has_old_object(self) -> bool:
        return bytes(self.old_object) != b"null"


class Review(Struct):
    api_version: str = "admission.k8s.io/v1"
    kind: str = "AdmissionReview"
    request: Request | None = None


class Answer(msgspec.Struct, frozen=True):
    """Yes (perhaps with a JSON patch), or no with a code and a text."""

    allowed: bool = True
    code: int = 200
    message: str = ""
    patch: Sequence[Mapping[str, Any]] = ()


ALLOWED = Answer()


def denied(code: int, message: str) -> Answer:
    return Answer(allowed=False, code=code, message=message)


_decoder = msgspec.json.Decoder(Review)


def decode(body: bytes) -> tuple[Review, Request]:
    """Read a review. Raises ValueError when it is none."""
    try:
        review = _decoder.decode(body)
    except msgspec.DecodeError as err:
        raise ValueError(f"the body is no AdmissionReview: {err}") from err
    if review.request is None:
        raise ValueError("the AdmissionReview has no request")
    return review, review.request


def encode(api_version: str, uid: str, answer: Answer) -> bytes:
    """The AdmissionReview that answers the request ``uid``, in the version in which it was asked."""
    response: dict[str, Any] = {"uid": uid, "allowed": answer.allowed}
    if not answer.allowed:
        response["status"] = {"metadata": {}, "status": "Failure", "code": answer.code, "message": answer.message}
    if answer.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(msgspec.json.encode(answer.patch)).decode()
    return msgspec.json.encode({"apiVersion": api_version, "kind": "AdmissionReview", "response": response})
