"""HTTP scheduler extenders: somebody else's filter, scores, preemption and binding, asked over HTTP.

An extender answers about one pod and the nodes that fit it. One that fails fails the pod, unless it is ``ignorable``.
"""

import logging
import ssl
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from koordinator.api import durations
from koordinator.api.core import Node, Pod
from koordinator.errors import KoordError
from koordinator.scheduler.config.types import Configuration, ExtenderConfig, ExtenderTLS
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Extender as Interested
from koordinator.scheduler.engine.framework import SKIP, BindPlugin, Code, CycleState, Status
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.plugins.resources_fit import NodeResourcesFit

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

MOST_POINTS = 10
"""Extenders score from 0 to 10; a plugin from 0 to 100."""
_to_json = msgspec.to_builtins


class ExtenderFailed(KoordError):
    """An extender did not answer, or said that it failed."""


class Verdict(msgspec.Struct):
    """What extenders leave of the nodes (None: all), what they add to scores, and why they refused how many nodes."""

    nodes: frozenset[str] | None = None
    scores: dict[str, int] = {}
    reasons: dict[str, int] = {}


Victims = dict[str, list[PodInfo]]
"""Node name → the pods that would have to go."""


class Extender:
    """One of them."""

    def __init__(self, config: ExtenderConfig) -> None:
        self.config = config
        self.name = config.url_prefix
        self._timeout = durations.seconds(config.http_timeout)
        self._managed = {one.name for one in config.managed_resources or ()}
        self._session: aiohttp.ClientSession | None = None

    def wants(self, pod: PodInfo) -> bool:
        """Whether the pod asks for one of the resources that the extender manages (or it manages all)."""
        return not self._managed or any(pod.template.requests.get(name) for name in self._managed)

    @property
    def ignored_resources(self) -> frozenset[str]:
        """What NodeResourcesFit is to leave to the extender."""
        return frozenset(one.name for one in self.config.managed_resources or () if one.ignored_by_scheduler)

    async def filter(self, pod: Pod, names: list[str], nodes: Mapping[str, Node]) -> tuple[list[str], dict[str, str]]:
        """The nodes that are left, and why the others are not. Raises: ExtenderFailed."""
        answer = await self._post(self.config.filter_verb, self._about(pod, names, nodes))
        if answer.get("Error") or answer.get("error"):
            raise ExtenderFailed(f"extender {self.name}: {answer.get('Error') or answer.get('error')}")
        refused = {**_field(answer, "FailedNodes", {}), **_field(answer, "FailedAndUnresolvableNodes", {})}
        kept = _field(answer, "NodeNames", None)
        if kept is None:
            items = (_field(answer, "Nodes", {}) or {}).get("items") or []
            kept = [item["metadata"]["name"] for item in items]
        known = set(names)
        return [name for name in kept if name in known], refused

    async def prioritize(self, pod: Pod, names: list[str], nodes: Mapping[str, Node]) -> dict[str, int]:
        """Points on the scale of plugins, weighted. Raises: ExtenderFailed."""
        answer = await self._post(self.config.prioritize_verb, self._about(pod, names, nodes))
        weight = self.config.weight * (100 // MOST_POINTS)
        return {_field(one, "Host", ""): int(_field(one, "Score", 0)) * weight for one in answer}

    async def preempt(self, pod: Pod, victims: Victims) -> Victims:
        """Those of the candidates that the extender agrees to, perhaps with fewer victims. Raises: ExtenderFailed."""
        if self.config.node_cache_capable:
            plain = {node: {"Pods": [{"UID": one.uid} for one in pods]} for node, pods in victims.items()}
            body = {"Pod": _to_json(pod), "NodeNameToMetaVictims": plain}
        else:
            whole = {node: {"Pods": [_to_json(one.pod) for one in pods]} for node, pods in victims.items()}
            body = {"Pod": _to_json(pod), "NodeNameToVictims": whole}
        answer = await self._post(self.config.preempt_verb, body)
        kept: Victims = {}
        for node, chosen in (_field(answer, "NodeNameToMetaVictims", {}) or {}).items():
            uids = {_field(one, "UID", "") for one in _field(chosen, "Pods", []) or []}
            kept[node] = [one for one in victims.get(node, ()) if one.uid in uids]
        return {node: pods for node, pods in kept.items() if pods}

    async def bind(self, pod: PodInfo, node: str) -> None:
        """Raises: ExtenderFailed."""
        body = {"PodName": pod.name, "PodNamespace": pod.namespace, "PodUID": pod.uid, "Node": node}
        answer = await self._post(self.config.bind_verb, body)
        if isinstance(answer, dict) and _field(answer, "Error", ""):
            raise ExtenderFailed(f"extender {self.name}: {_field(answer, 'Error', '')}")

    def _about(self, pod: Pod, names: list[str], nodes: Mapping[str, Node]) -> dict[str, Any]:
        if self.config.node_cache_capable:
            return {"Pod": _to_json(pod), "NodeNames": names, "Nodes": None}
        items = [_to_json(nodes[name]) for name in names if name in nodes]
        return {"Pod": _to_json(pod), "Nodes": {"apiVersion": "v1", "kind": "NodeList", "items": items}, "NodeNames": None}

    async def _post(self, verb: str, body: Any) -> Any:
        import aiohttp

        url = f"{self.config.url_prefix.rstrip('/')}/{verb}"
        if self._session is None:
            secured = self.config.enable_https or self.config.tls_config is not None
            context = tls(self.config.tls_config or ExtenderTLS()) if secured else True
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))
        try:
            timeout = aiohttp.ClientTimeout(total=self._timeout)
            headers = {"Content-Type": "application/json"}
            async with self._session.post(url, data=msgspec.json.encode(body), headers=headers, timeout=timeout) as answer:
                text = await answer.read()
                if answer.status != 200:
                    raise ExtenderFailed(f"extender {url} answered {answer.status}: {text[:200].decode(errors='replace')}")
                return msgspec.json.decode(text) if text.strip() else {}
        except (aiohttp.ClientError, OSError, TimeoutError) as err:
            raise ExtenderFailed(f"extender {url}: {str(err) or type(err).__name__}") from err
        except (msgspec.DecodeError, ValueError) as err:
            raise ExtenderFailed(f"extender {url} did not answer JSON: {err}") from err

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _field(answer: Any, name: str, default: Any) -> Any:
    """Go's JSON takes any case of a field's name, and so do the extenders that people have."""
    if not isinstance(answer, dict):
        return default
    for spelling in (name, name[0].lower() + name[1:], name.lower()):
        if answer.get(spelling) is not None:
            return answer[spelling]
    return default


def tls(config: ExtenderTLS) -> ssl.SSLContext:
    """Raises: OSError or ssl.SSLError when a file cannot be used."""
    import base64

    context = ssl.create_default_context(cafile=config.ca_file or None)
    if config.ca_data:
        context.load_verify_locations(cadata=base64.b64decode(config.ca_data).decode())
    if config.insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if config.cert_file:
        context.load_cert_chain(config.cert_file, config.key_file or None)
    elif config.cert_data:
        with tempfile.TemporaryDirectory() as folder:
            cert, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
            cert.write_bytes(base64.b64decode(config.cert_data))
            key.write_bytes(base64.b64decode(config.key_data))
            context.load_cert_chain(cert, key)
    return context


class Extenders:
    """All of them, asked in their order."""

    def __init__(self, extenders: Iterable[Extender], cluster: Cluster) -> None:
        self._cluster = cluster
        self._extenders = list(extenders)
        self.all: Sequence[Interested] = [
            one for one in self._extenders if one.config.filter_verb or one.config.prioritize_verb
        ]

    async def ask(self, interested: Sequence[Interested], pod: PodInfo, names: list[str]) -> Verdict:
        """Filter, one after the other, then points. Raises: ExtenderFailed, unless the extender is ignorable."""
        verdict = Verdict()
        nodes, left = self._cluster.nodes, names
        asked = [one for one in interested if isinstance(one, Extender)]
        for one in asked:
            if one.config.filter_verb and left:
                try:
                    left, refused = await one.filter(pod.pod, left, nodes)
                except ExtenderFailed as err:
                    _ignore_or_raise(one, err)
                    continue
                verdict.nodes = frozenset(left)
                for reason in refused.values():
                    verdict.reasons[reason] = verdict.reasons.get(reason, 0) + 1
        for one in asked:
            if one.config.prioritize_verb and len(left) > 1:
                await self._add_points(one, verdict, pod, left)
        return verdict

    async def _add_points(self, extender: Extender, verdict: Verdict, pod: PodInfo, names: list[str]) -> None:
        """An extender that cannot score is passed over: the pod has its nodes already."""
        try:
            points = await extender.prioritize(pod.pod, names, self._cluster.nodes)
        except (ExtenderFailed, TypeError, ValueError) as err:
            log.warning("scores of extender %s do not count: %s", extender.name, err)
            return
        for name, number in points.items():
            verdict.scores[name] = verdict.scores.get(name, 0) + number

    def preempting(self, pod: PodInfo) -> list[Extender]:
        return [one for one in self._extenders if one.config.preempt_verb and one.wants(pod)]

    async def shrink(self, pod: PodInfo, victims: Victims) -> Victims:
        """What preempting extenders leave of the candidates. Raises: ExtenderFailed."""
        for one in self.preempting(pod):
            try:
                victims = await one.preempt(pod.pod, victims)
            except ExtenderFailed as err:
                _ignore_or_raise(one, err)
            if not victims:
                break
        return victims

    async def close(self) -> None:
        for one in self._extenders:
            await one.close()


def _ignore_or_raise(extender: Extender, err: ExtenderFailed) -> None:
    if not extender.config.ignorable:
        raise err
    log.warning("ignored: %s", err)


class ExtenderBinder(BindPlugin):
    """Lets the extender that binds go first; not configured by name, but by the extender's bindVerb."""

    name = "ExtenderBinder"

    def __init__(self, extender: Extender) -> None:
        self._extender = extender

    async def bind(self, state: CycleState, pod: PodInfo, node: str) -> Status | None:
        if not self._extender.wants(pod):
            return SKIP
        try:
            await self._extender.bind(pod, node)
        except ExtenderFailed as err:
            return Status(Code.ERROR, (str(err),))
        return None


def extenders_of(configuration: Configuration, profiles: Sequence[Profile], cluster: Cluster) -> Extenders:
    """Make them, and let the one that binds bind."""
    extenders = [Extender(config) for config in configuration.extenders or ()]
    for extender in extenders:
        if extender.config.bind_verb:
            for profile in profiles:
                profile.binds = [ExtenderBinder(extender), *profile.binds]
    ignored = frozenset().union(*(extender.ignored_resources for extender in extenders))
    for profile in profiles if ignored else ():
        for plugin in profile.filters:
            if isinstance(plugin, NodeResourcesFit):
                plugin.ignore(ignored)
    return Extenders(extenders, cluster)
