"""An API server's store in memory, for one node; and a kubelet that really listens, over HTTPS."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl

import msgspec
from aiohttp import web

from koordinator.kube.errors import NotFound
from koordinator.kube.patches import merge
from koordinator.kube.store import Page, PatchType, WatchEvent


class FakeStore:
    """Get, list, watch and patch of plain objects. ``down`` makes every call fail."""

    def __init__(self):
        self.objects, self.patches, self.down = {}, [], None
        self._watchers, self._version = [], 0

    def put(self, resource, obj):
        """Add or replace an object, given as plain JSON."""
        self._version += 1
        name = obj["metadata"]["name"]
        obj["metadata"]["resourceVersion"] = str(self._version)
        kind = "MODIFIED" if (resource.plural, name) in self.objects else "ADDED"
        self.objects[resource.plural, name] = obj
        event = WatchEvent(kind, msgspec.convert(obj, resource.type), str(self._version))
        for plural, queue in self._watchers:
            if plural == resource.plural:
                queue.put_nowait(event)

    async def list(self, resource, namespace="", **_selectors):
        self._fail()
        items = [msgspec.convert(obj, resource.type) for (plural, _), obj in self.objects.items() if plural == resource.plural]
        return Page(items, str(self._version))

    async def watch(self, resource, namespace="", **_selectors):
        queue = asyncio.Queue()
        self._watchers.append((resource.plural, queue))
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.remove((resource.plural, queue))

    async def patch(self, resource, name, patch, namespace="", *, type=PatchType.MERGE, subresource=""):  # noqa: A002
        self._fail()
        if (resource.plural, name) not in self.objects:
            raise NotFound(404, "NotFound", f"{resource.plural} {name!r} not found")
        self.patches.append(patch)
        self.put(resource, merge(self.objects[resource.plural, name], patch))
        return msgspec.convert(self.objects[resource.plural, name], resource.type)

    def _fail(self):
        if self.down is not None:
            raise self.down


def certificate(folder):
    """A self-signed certificate for 127.0.0.1; returns its path and the key's."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubelet")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "kubelet.crt", folder / "kubelet.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(*private))
    return paths


class FakeKubelet:
    """``/pods/`` behind a token. ``body`` overrides the list."""

    def __init__(self, token):
        self.token, self.pods, self.body, self.status, self.requests, self.port = token, [], None, 200, 0, 0

    async def answer(self, request):
        self.requests += 1
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401, text="Unauthorized")
        body = self.body if self.body is not None else msgspec.json.encode({"kind": "PodList", "items": self.pods})
        return web.Response(status=self.status, body=body, content_type="application/json")


@contextlib.asynccontextmanager
async def serve_kubelet(folder, token="secret"):
    """A listening kubelet; its certificate is at ``folder/kubelet.crt``."""
    kubelet, app = FakeKubelet(token), web.Application()
    app.add_routes([web.get("/pods/", kubelet.answer)])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate(folder))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    kubelet.port = runner.addresses[0][1]
    try:
        yield kubelet
    finally:
        await runner.cleanup()
