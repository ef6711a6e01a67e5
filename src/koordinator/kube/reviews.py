"""Whose token is this, and may he do that? Asked of the API server, so that a component's own port needs no users of its own.

Answers are remembered for some seconds, because Prometheus asks for the same thing again and again. A question that the server
did not answer is an error, never a yes or a no, and is not remembered.
"""

import hashlib
from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from koordinator.api.meta import Object
from koordinator.api.registry import Resource
from koordinator.clock import Clock
from koordinator.kube.store import Store

T = TypeVar("T")

AUTHENTICATED, UNAUTHENTICATED, MASTERS = "system:authenticated", "system:unauthenticated", "system:masters"
_REMEMBERED = 4096


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody, as the API server knows him."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


ANONYMOUS = User(name="system:anonymous", groups=(UNAUTHENTICATED,))


class _UserInfo(msgspec.Struct):
    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str]] | None = None


class _TokenStatus(msgspec.Struct):
    authenticated: bool = False
    user: _UserInfo | None = None


class TokenReview(Object):
    status: _TokenStatus = msgspec.field(default_factory=_TokenStatus)


class _AccessStatus(msgspec.Struct):
    allowed: bool = False


class SubjectAccessReview(Object):
    status: _AccessStatus = msgspec.field(default_factory=_AccessStatus)


TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", TokenReview, namespaced=False)
SUBJECT_ACCESS_REVIEWS = Resource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", SubjectAccessReview, namespaced=False
)


class Lifetimes(msgspec.Struct, frozen=True, kw_only=True):
    """For how many seconds answers count."""

    token: float = 10.0
    allowed: float = 10.0
    denied: float = 10.0


class _Remembered(Generic[T]):
    """Answers that have not expired; the oldest goes when there are too many."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._answers: dict[Hashable, tuple[float, T]] = {}

    def get(self, key: Hashable) -> tuple[T] | None:
        until, answer = self._answers.get(key, (0.0, None))
        return (answer,) if answer is not None and self._clock.monotonic() < until else None

    def put(self, key: Hashable, answer: T, seconds: float) -> T:
        self._answers.pop(key, None)
        if len(self._answers) >= _REMEMBERED:
            del self._answers[next(iter(self._answers))]
        self._answers[key] = self._clock.monotonic() + seconds, answer
        return answer


class Reviews:
    """Asks one server about tokens, and one (mostly the same) about access."""

    def __init__(self, tokens: Store, access: Store, clock: Clock, lifetimes: Lifetimes | None = None) -> None:
        self._tokens, self._access = tokens, access
        self._lifetimes = lifetimes or Lifetimes()
        self._users: _Remembered[User | str] = _Remembered(clock)
        self._allowed: _Remembered[bool] = _Remembered(clock)

    async def user_of(self, token: str) -> User | None:
        """Whose token it is; None when it is nobody's. Raises: ApiError."""
        key = hashlib.sha256(token.encode()).digest()  # no secrets in memory for longer than their request
        known = self._users.get(key)
        if known is None:
            review = await self._tokens.create(TOKEN_REVIEWS, _review(TOKEN_REVIEWS, {"token": token}))
            user = _user(review.status)
            known = (self._users.put(key, user or "", self._lifetimes.token),)
        return known[0] if isinstance(known[0], User) else None

    async def may(self, user: User, verb: str, path: str) -> bool:
        """Whether somebody may do ``verb`` (get, post, …) to a path. Raises: ApiError."""
        key = user, verb, path
        known = self._allowed.get(key)
        if known is not None:
            return known[0]
        review = await self._access.create(SUBJECT_ACCESS_REVIEWS, _review(SUBJECT_ACCESS_REVIEWS, _question(*key)))
        allowed = review.status.allowed
        return self._allowed.put(key, allowed, self._lifetimes.allowed if allowed else self._lifetimes.denied)


def _review(resource: Resource[Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": resource.api_version, "kind": resource.kind, "spec": spec}


def _user(status: _TokenStatus) -> User | None:
    if not status.authenticated or status.user is None:
        return None
    info = status.user
    extra = tuple((name, tuple(values)) for name, values in sorted((info.extra or {}).items()))
    return User(name=info.username, uid=info.uid, groups=tuple(info.groups or ()), extra=extra)


def _question(user: User, verb: str, path: str) -> dict[str, Any]:
    question: dict[str, Any] = {"user": user.name, "nonResourceAttributes": {"path": path, "verb": verb}}
    if user.groups:
        question["groups"] = list(user.groups)
    if user.uid:
        question["uid"] = user.uid
    if user.extra:
        question["extra"] = {name: list(values) for name, values in user.extra}
    return question
