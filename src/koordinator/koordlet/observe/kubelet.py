"""The kubelet's pod list: what really runs here, known before the API server hears of it.

Guarantees: a failed request leaves the last list in force. A pod that cannot be decoded is said once and left out; the others
go on. An empty list is believed only when no pod has a cgroup any more: a kubelet that has just started knows nothing yet.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import aiohttp
import msgspec

from koordinator.api import qos
from koordinator.api.core import Node, Pod
from koordinator.api.meta import ObjectMeta, Struct
from koordinator.clock import Clock
from koordinator.errors import KoordError, Unavailable
from koordinator.koordlet.host import files
from koordinator.koordlet.host.paths import Layout
from koordinator.koordlet.notices import Notices
from koordinator.koordlet.view import ContainerView, PodView

SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 — a path
_KEY = "kubelet"
_RETRY = 0.5
"""Seconds to the next list when this one failed, or misses containers that are just starting."""
_HASTE = 5.0
"""Seconds after a pod's arrival in which its containers are waited for in that haste."""
_PATIENCE = 10
"""Failures before the first list that nobody needs to hear of: kubelet and koordlet start together."""
_MIN_GAP = 0.2
"""Seconds between two lists, however often somebody pulls."""


class Endpoint(msgspec.Struct, frozen=True):
    """Where the kubelet is and how to talk to it. Without ``ca_file`` its certificate is not verified."""

    token_file: str = ""
    ca_file: str = ""
    read_only_port: int = 0  # above 0: plain HTTP without credentials
    address_type: str = "InternalIP"
    timeout: float = 3.0


class Source(Protocol):
    """Where pod lists come from."""

    async def pods(self, node: Node) -> bytes:
        """The JSON of a PodList. Raises: Unavailable."""
        ...


class Kubelet:
    """The kubelet of the node object that it is given: address and port are looked up anew for every request."""

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self._endpoint, self._clock = endpoint, clock
        self.observe: Callable[[float, int], None] = lambda _seconds, _code: None
        self._context: ssl.SSLContext | None = None
        self._session: aiohttp.ClientSession | None = None

    async def pods(self, node: Node) -> bytes:
        url, started = self._url(node), self._clock.monotonic()
        try:
            async with self._open().get(url, headers=self._headers(), ssl=self._tls()) as answer:
                body = await answer.read()
                self.observe(self._clock.monotonic() - started, answer.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            raise Unavailable(f"kubelet {url}", str(err) or type(err).__name__) from err
        if answer.status != 200:
            raise Unavailable(f"kubelet {url}", f"HTTP {answer.status}: {body[:200].decode(errors='replace').strip()}")
        return body

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._endpoint.timeout))
        return self._session

    def _url(self, node: Node) -> str:
        addresses = node.status.addresses or []
        wanted = [one.address for one in addresses if one.type == self._endpoint.address_type]
        if not wanted:
            raise Unavailable(f"kubelet of node {node.name}", f"the node has no address of type {self._endpoint.address_type}")
        host = f"[{wanted[0]}]" if ":" in wanted[0] else wanted[0]
        if self._endpoint.read_only_port > 0:
            return f"http://{host}:{self._endpoint.read_only_port}/pods/"
        endpoints = node.status.daemon_endpoints
        if endpoints is None or not endpoints.kubelet_endpoint.port:
            raise Unavailable(f"kubelet of node {node.name}", "status.daemonEndpoints.kubeletEndpoint has no port")
        return f"https://{host}:{endpoints.kubelet_endpoint.port}/pods/"

    def _headers(self) -> dict[str, str]:
        if self._endpoint.read_only_port > 0:
            return {}
        path = self._endpoint.token_file or SERVICE_ACCOUNT_TOKEN
        try:
            return {"Authorization": f"Bearer {files.read_once(path).strip()}"}
        except OSError as err:
            if not self._endpoint.token_file:
                return {}
            raise Unavailable(f"kubelet token {path}", err.strerror or "unreadable") from err

    def _tls(self) -> ssl.SSLContext | bool:
        if not self._endpoint.ca_file:
            return False
        if self._context is None:
            self._context = ssl.create_default_context(cafile=self._endpoint.ca_file)
        return self._context


class _RawList(Struct):
    items: list[msgspec.Raw] = msgspec.field(default_factory=list)


class _Bare(Struct):
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)


class PodList:
    """The pods of this node as views, kept by ``run``."""

    def __init__(self, source: Source, layout: Layout, clock: Clock, notices: Notices) -> None:
        self._source, self._layout, self._clock, self._notices = source, layout, clock, notices
        self._by_uid: dict[str, PodView] = {}
        self._body = b""
        self._pull = asyncio.Event()
        self._decoder = msgspec.json.Decoder(Pod)
        self.has_synced = False
        self._hasty_until = 0.0
        self._failures = 0
        self.on_gone: Callable[[str], None] = lambda _group: None
        self.on_change: Callable[[], None] = lambda: None

    @property
    def views(self) -> list[PodView]:
        return list(self._by_uid.values())

    def pull(self) -> None:
        """Ask for the list now: something has changed on the node."""
        self._pull.set()

    async def run(self, node: Callable[[], Node | None], interval: float, has_pods: Callable[[], bool]) -> None:
        """Keep the list current for ever. ``has_pods`` says whether any pod has a cgroup."""
        while True:
            good = await self.sync(node(), has_pods)
            await self._clock.sleep(_MIN_GAP)
            await self._pulled_or((interval if good else min(interval, _RETRY)) - _MIN_GAP)

    async def _pulled_or(self, seconds: float) -> None:
        waits = [asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(self._pull.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            self._pull.clear()

    async def sync(self, node: Node | None, has_pods: Callable[[], bool]) -> bool:
        """One request; False when it is worth asking again soon."""
        if node is None:
            return False
        try:
            body = await self._source.pods(node)
            raws = self._items(body)
        except KoordError as err:
            self._failures += 1
            if self.has_synced or self._failures > _PATIENCE:
                self._notices.say(_KEY, f"{err}; the last pod list stays in force")
            return False
        self._failures = 0
        self._notices.over(_KEY, "the kubelet answers again")
        if raws is None:
            return self._settled()
        if not raws and has_pods():
            self._body = b""
            return False
        self.take(raws)
        return self._settled()

    def _settled(self) -> bool:
        """Whether all containers have started, or have not for so long that haste is of no use."""
        return self._clock.monotonic() > self._hasty_until or not any(_starting(view.pod) for view in self._by_uid.values())

    def _items(self, body: bytes) -> list[msgspec.Raw] | None:
        """None when nothing has changed."""
        if body == self._body and self.has_synced:
            return None
        try:
            items = msgspec.json.decode(body, type=_RawList).items
        except msgspec.DecodeError as err:
            raise Unavailable("kubelet", f"its answer is not a PodList: {err}") from err
        self._body = body
        return items

    def take(self, raws: Sequence[msgspec.Raw]) -> None:
        """Make these the node's pods."""
        views = dict(pair for raw in raws if (pair := self._view(raw)) is not None)
        before, now = _groups(self._by_uid.values()), _groups(views.values())
        self._by_uid = views
        for group in before - now:
            self.on_gone(group)
        self.has_synced = True
        if now - before:
            self._hasty_until = self._clock.monotonic() + _HASTE
            self.on_change()

    def _view(self, raw: msgspec.Raw) -> tuple[str, PodView] | None:
        try:
            pod = self._decoder.decode(raw)
        except msgspec.DecodeError as err:
            self._notices.say(f"pod {_name_of(raw)}", f"pod {_name_of(raw)} cannot be read: {err}; it is left out")
            return None
        pod.api_version, pod.kind = "v1", "Pod"  # a list's items do not say; events about them must
        uid, known = pod.metadata.uid, self._by_uid.get(pod.metadata.uid)
        return uid, known if known is not None and known.pod == pod else self._new_view(pod)

    def _new_view(self, pod: Pod) -> PodView:
        kube_qos = qos.kube(pod)
        group = self._layout.pod_dir(pod.metadata.uid, kube_qos)
        return PodView(pod, pod.metadata.uid, group, qos.raw(pod), kube_qos, tuple(self._containers(pod, group)))

    def _containers(self, pod: Pod, group: str) -> list[ContainerView]:
        found = []
        for status in pod.status.container_statuses or []:
            if not status.container_id:
                continue
            try:
                found.append(
                    ContainerView(status.name, status.container_id, self._layout.container_dir(group, status.container_id))
                )
            except ValueError as err:
                self._notices.say(
                    f"container {pod.key}/{status.name}", f"pod {pod.key} container {status.name}: {err}", pod, "BadID"
                )
        return found


def _starting(pod: Pod) -> bool:
    """Whether a container is still to come: its id is known to the kubelet a moment later."""
    started = sum(1 for status in pod.status.container_statuses or [] if status.container_id)
    return not pod.terminated and started < len(pod.spec.containers)


def _groups(views: Iterable[PodView]) -> set[str]:
    """The cgroups of pods and of their containers."""
    return {group for view in views for group in (view.group, *(container.group for container in view.containers))}


def _name_of(raw: msgspec.Raw) -> str:
    try:
        meta = msgspec.json.decode(raw, type=_Bare).metadata
    except msgspec.DecodeError:
        return "(no name)"
    return f"{meta.namespace}/{meta.name}"
