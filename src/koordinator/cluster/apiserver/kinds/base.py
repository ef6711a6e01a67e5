"""What a kind is, and the rules that every kind follows unless it says otherwise."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from koordinator.api.meta import Object
from koordinator.cluster.apiserver.refusals import FieldError, Refused, bad_request

Json = dict[str, Any]
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
NO_FIELDS: dict[str, str] = {}


class Column(msgspec.Struct, frozen=True):
    """One column of ``kubectl get``: the cell is computed from the object and the present time. Priority > 0 is ``-o wide``."""

    name: str
    cell: Callable[[Json, float], Any]
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""


class ScalePaths(msgspec.Struct, frozen=True):
    """Where a kind keeps what its scale subresource shows, as dotted paths."""

    replicas: str = ".spec.replicas"
    status: str = ".status.replicas"
    selector: str = ".spec.selector"


class Rules:
    """The rules of one kind. The base is a kind that is stored as it comes."""

    model: type[Object] = Object  # what the body must decode to
    fields: frozenset[str] = frozenset()  # field selectors beyond name and namespace
    columns: tuple[Column, ...] = ()
    has_status = False
    generation = False  # metadata.generation counts changes of the spec
    unconditional_update = True  # PUT without a resource version is allowed
    strategic = True  # knows strategic merge patch
    status_owns_metadata = True  # a status write may change labels and annotations too
    label_names = False  # names are DNS labels, not subdomains
    schema: Json | None = None  # of kinds that Kubernetes' own schemas do not describe
    scale = ScalePaths()
    path_names = False  # names are anything that fits into a path

    def index(self, obj: Json) -> dict[str, str]:
        """The values of ``fields``."""
        return NO_FIELDS

    def default(self, obj: Json) -> None:
        """Fill in what was left out, on every write."""

    def prepare_create(self, obj: Json) -> None:
        """Set what only the server may set on a new object."""

    def prepare_update(self, obj: Json, old: Json) -> None:
        """Restore what an update may not touch."""

    def validate(self, obj: Json) -> Iterable[FieldError]:
        """What is wrong with this object on its own."""
        return ()

    def validate_create(self, obj: Json) -> Iterable[FieldError]:
        """What may not be said of an object that is new."""
        return ()

    def validate_update(self, obj: Json, old: Json) -> Iterable[FieldError]:
        """What may not have changed."""
        return ()

    def decode(self, obj: Json, kind: "Kind", *, strict: bool = False) -> Json:
        """The object in the shape of its kind: every field checked, unknown ones dropped or refused. Raises: Refused (400)."""
        from koordinator.cluster.apiserver.kinds.fields import conform

        obj = conform(kind, obj, strict=strict)
        try:
            msgspec.convert(obj, self.model)
        except msgspec.ValidationError as err:
            raise undecodable(kind, str(err)) from None
        return obj


class Kind(msgspec.Struct, frozen=True, eq=False):
    """One resource of the API: its names, its scope, its rules."""

    group: str
    version: str
    plural: str
    kind: str
    rules: Rules
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    singular: str = ""
    list_kind: str = ""
    verbs: tuple[str, ...] = VERBS
    versions: int = 1  # how many versions of it are served: its objects may have been written in another one
    stored_as: str = ""  # the objects are those of another kind, seen differently

    @property
    def key(self) -> str:
        """The name under which the store keeps it: the same for all versions."""
        return self.stored_as or (f"{self.plural}.{self.group}" if self.group else self.plural)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_name(self) -> str:
        return self.list_kind or f"{self.kind}List"


def undecodable(kind: Kind, why: str) -> Refused:
    return bad_request(f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {why}')
