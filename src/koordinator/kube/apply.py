"""Apply manifests the way kubectl does on the client's side, so that no kubectl is needed.

What a manifest said last time is kept in the annotation that kubectl uses; the patch sent is what the manifest says now, plus
the removal of what it said before and says no more. What others wrote into the object stays.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from koordinator.errors import KoordError
from koordinator.kube.client import Client
from koordinator.kube.errors import NotFound
from koordinator.kube.semantics.kinds import is_custom
from koordinator.kube.store import PatchType

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_STRICT = "?fieldValidation=Strict"
"""As kubectl: a field that the kind does not have is refused, not dropped. Servers that do not know this take no notice."""


class ManifestInvalid(KoordError):
    """A manifest that cannot be applied: the file, the document and the field, and what is wrong there."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where} {why}; nothing of it was applied")


class Manifest(msgspec.Struct, frozen=True):
    """One object to apply, and where it was read."""

    where: str
    body: dict[str, Any]

    @property
    def title(self) -> str:
        """``kind/name`` for messages."""
        return f"{self.body['kind'].lower()}/{self.body['metadata']['name']}"


class Applied(msgspec.Struct, frozen=True):
    """What came of one manifest: ``outcome`` is created, configured or unchanged."""

    title: str
    outcome: str


def read_manifests(text: str, where: str) -> Iterator[Manifest]:
    """The objects of a YAML or JSON stream; a List counts as its items. Raises ManifestInvalid naming document and field."""
    try:
        documents = list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as err:
        raise ManifestInvalid(where, f"is not readable YAML: {_yaml_problem(err)}") from None
    for number, document in enumerate(documents, 1):
        if document is not None:
            yield from _objects(document, where if len(documents) == 1 else f"{where}, document {number}")


def _yaml_problem(err: yaml.YAMLError) -> str:
    """The parser's finding in one line, with the place in the file's own numbers."""
    mark, problem = getattr(err, "problem_mark", None), getattr(err, "problem", None)
    if mark is None or problem is None:
        return " ".join(str(err).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _objects(document: Any, where: str) -> Iterator[Manifest]:
    if not isinstance(document, dict):
        raise ManifestInvalid(where, f"is {document!r}, must be an object with apiVersion, kind and metadata")
    for field in ("apiVersion", "kind"):
        if not isinstance(document.get(field), str) or not document[field]:
            raise ManifestInvalid(where, f"has {field} {document.get(field)!r}, must be a non-empty text")
    if document["kind"].endswith("List") and isinstance(document.get("items"), list):
        for index, item in enumerate(document["items"]):
            yield from _objects(item, f"{where}, items[{index}]")
        return
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        name = metadata.get("name") if isinstance(metadata, dict) else None
        raise ManifestInvalid(where, f"has metadata.name {name!r}, must be a text")
    yield Manifest(where, document)


def manifests_at(path: Path) -> list[Manifest]:
    """All manifests of a file, or of the YAML and JSON files right below a folder, in the order of their names."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml", ".json"))
        if not files:
            raise ManifestInvalid(str(path), "holds no .yaml, .yml or .json files")
        return [manifest for file in files for manifest in manifests_at(file)]
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as err:
        raise ManifestInvalid(str(path), f"cannot be read: {getattr(err, 'strerror', None) or err}") from None
    return list(read_manifests(text, str(path)))


async def apply(client: Client, manifest: Manifest, namespace: str = "default") -> Applied:
    """Create the object, or patch it to what the manifest says. Raises: ApiError, ManifestInvalid (unknown kind)."""
    collection, builtin = await _collection(client, manifest, namespace)
    wanted = with_last_applied(manifest.body)
    path = f"{collection}/{manifest.body['metadata']['name']}"
    try:
        live = await client.request("GET", path)
    except NotFound:
        await client.request("POST", collection + _STRICT, wanted)
        return Applied(manifest.title, "created")
    content_type = PatchType.STRATEGIC if builtin else PatchType.MERGE
    patch = three_way(_last_applied(live), wanted, content_type)
    after = await client.request("PATCH", path + _STRICT, patch, content_type.value)
    same = after["metadata"].get("resourceVersion") == live["metadata"].get("resourceVersion")
    return Applied(manifest.title, "unchanged" if same else "configured")


async def _collection(client: Client, manifest: Manifest, namespace: str) -> tuple[str, bool]:
    """The URL path of the manifest's collection, and whether strategic merge works there (kinds built into Kubernetes)."""
    api_version, kind = manifest.body["apiVersion"], manifest.body["kind"]
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    try:
        resources = (await client.request("GET", root))["resources"]
    except NotFound:
        resources = []
    found = next((entry for entry in resources if entry["kind"] == kind and "/" not in entry["name"]), None)
    if found is None:
        raise ManifestInvalid(f"{api_version} {kind}", "is a kind that the API server does not know")
    builtin = not is_custom(api_version.rpartition("/")[0])
    if not found["namespaced"]:
        return f"{root}/{found['name']}", builtin
    inside = manifest.body["metadata"].get("namespace") or namespace
    return f"{root}/namespaces/{inside}/{found['name']}", builtin


def with_last_applied(body: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with a copy of itself in its annotation."""
    metadata = dict(body["metadata"])
    annotations = {key: text for key, text in (metadata.get("annotations") or {}).items() if key != LAST_APPLIED}
    plain = dict(body) | {"metadata": metadata | ({"annotations": annotations} if annotations else {})}
    annotations = annotations | {LAST_APPLIED: msgspec.json.encode(plain, order="sorted").decode() + "\n"}
    return dict(body) | {"metadata": metadata | {"annotations": annotations}}


def _last_applied(live: Mapping[str, Any]) -> dict[str, Any]:
    try:
        said = msgspec.json.decode((live["metadata"].get("annotations") or {}).get(LAST_APPLIED, "{}"))
    except msgspec.DecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def three_way(before: Mapping[str, Any], wanted: Mapping[str, Any], dialect: PatchType = PatchType.MERGE) -> dict[str, Any]:
    """A patch that says everything wanted and removes what was said before and is not wanted any more.

    In the strategic dialect, members of named lists (containers, ports) that are no longer wanted are removed by name; in merge
    patches a list is replaced whole.
    """
    patch: dict[str, Any] = {key: None for key in before if key not in wanted and key != "status"}
    for key, value in wanted.items():
        old = before.get(key)
        if isinstance(value, Mapping):
            patch[key] = three_way(old if isinstance(old, Mapping) else {}, value, dialect)
        elif isinstance(value, list) and isinstance(old, list) and dialect is PatchType.STRATEGIC:
            patch[key] = _named_list_patch(old, value)
        else:
            patch[key] = value
    return patch


def _named_list_patch(old: list[Any], wanted: list[Any]) -> list[Any]:
    if not all(isinstance(item, Mapping) and "name" in item for item in [*old, *wanted]):
        return wanted
    named = {item["name"]: item for item in old}
    gone = [{"name": name, "$patch": "delete"} for name in named if name not in {item["name"] for item in wanted}]
    return [three_way(named.get(item["name"], {}), item, PatchType.STRATEGIC) for item in wanted] + gone
