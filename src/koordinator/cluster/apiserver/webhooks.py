"""Admission webhooks: configurations made ready, and the HTTPS call with its AdmissionReview."""

import asyncio
import base64
import binascii
import ssl
import uuid
from typing import Any

import msgspec
import structlog

from koordinator.api import selectors
from koordinator.api.meta import LabelSelector
from koordinator.api.selectors import EVERYTHING, Selector
from koordinator.cluster.apiserver.calls import Call
from koordinator.cluster.apiserver.kinds.base import Json, Kind
from koordinator.cluster.apiserver.kinds.hooks import ClientConfig, Rule, ServiceReference, Webhook, compile_condition
from koordinator.cluster.apiserver.posting import Place, Poster, PostFailed, split
from koordinator.cluster.apiserver.refusals import Refused, broken
from koordinator.cluster.apiserver.store import Store
from koordinator.kube import patches
from koordinator.kube.errors import ApiError
from koordinator.kube.semantics.cel import CelError, Program

_log = structlog.get_logger(__name__)


class Hook(msgspec.Struct, frozen=True):
    """One webhook of one configuration."""

    configuration: str
    name: str
    rules: tuple[Rule, ...]
    client: ClientConfig
    timeout: float
    ignore_failure: bool
    namespaces: Selector
    objects: Selector
    mutating: bool
    reinvoke: bool
    conditions: tuple[Program, ...] = ()

    def wants(self, kind: Kind, subresource: str, operation: str) -> bool:
        return any(rule.wants(kind, subresource, operation) for rule in self.rules)

    def applies(self, review: "Review") -> bool:
        """Do all match conditions hold? One that is false settles it; one that fails does what the failure policy says.

        Raises: Refused.
        """
        if not self.conditions:
            return True
        values = {"object": review.obj, "oldObject": review.old, "request": review.request("")["request"]}
        failed = ""
        for condition in self.conditions:
            try:
                if condition(values) is not True:
                    return False
            except CelError as err:
                failed = failed or str(err)
        if failed and not self.ignore_failure:
            raise broken(f'failed calling webhook "{self.name}": match condition failed: {failed}')
        return not failed


class Review(msgspec.Struct, frozen=True):
    """What a webhook is asked about."""

    call: Call
    obj: Json | None
    old: Json | None
    operation: str

    def request(self, uid: str) -> Json:
        call, kind = self.call, self.call.kind
        about = self.obj or self.old or {}
        gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
        if call.target.subresource == "binding":  # a subresource that takes a kind of its own
            gvk = {"group": "", "version": "v1", "kind": "Binding"}
        gvr = {"group": kind.group, "version": kind.version, "resource": kind.plural}
        subresource = {"subResource": call.target.subresource, "requestSubResource": call.target.subresource}
        request = {
            "uid": uid,
            "kind": gvk,
            "resource": gvr,
            "requestKind": gvk,
            "requestResource": gvr,
            **(subresource if call.target.subresource else {}),
            "name": call.name or about.get("metadata", {}).get("name", ""),
            **({"namespace": call.namespace} if call.namespace else {}),
            "operation": self.operation,
            "userInfo": {"username": call.user, "groups": ["system:masters", "system:authenticated"]},
            "object": self.obj,
            "oldObject": self.old,
            "dryRun": call.dry_run,
            "options": None,
        }
        return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}


def compile_hooks(configuration: Json) -> list[Hook]:
    """The webhooks of a configuration object, ready to be matched."""
    mutating = configuration.get("kind") == "MutatingWebhookConfiguration"
    name = configuration["metadata"]["name"]
    hooks = msgspec.convert(configuration.get("webhooks") or [], list[Webhook])
    return [_compile(name, hook, mutating=mutating) for hook in hooks]


def _compile(configuration: str, hook: Webhook, *, mutating: bool) -> Hook:
    return Hook(
        configuration=configuration,
        name=hook.name,
        rules=tuple(hook.rules or ()),
        client=hook.client_config or ClientConfig(),
        timeout=float(hook.timeout_seconds),
        ignore_failure=hook.failure_policy == "Ignore",
        namespaces=_selector(hook.namespace_selector),
        objects=_selector(hook.object_selector),
        mutating=mutating,
        reinvoke=mutating and hook.reinvocation_policy == "IfNeeded",
        conditions=tuple(compile_condition(condition.expression) for condition in hook.match_conditions or ()),
    )


def _selector(selector: LabelSelector | None) -> Selector:
    return EVERYTHING if selector is None else selectors.compile_(selector)


class CallFailed(Exception):
    """No usable answer came."""


class WebhookCaller:
    """Calls webhooks; keeps connections, and one TLS context per CA."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._poster = Poster()
        self._contexts: dict[str, ssl.SSLContext] = {}

    def close(self) -> None:
        self._poster.close()

    async def ask(self, hook: Hook, review: Review) -> Any:
        """The object after this webhook. Raises: Refused when it says no, or cannot say and must."""
        uid = str(uuid.uuid4())
        try:
            response = await self._call(hook, review, uid)
            review.call.warnings.extend(map(str, response.get("warnings") or ()))
            if not response.get("allowed", False):
                raise _denial(hook.name, response.get("status") or {})
            return _patched(review.obj, response) if hook.mutating else review.obj
        except CallFailed as err:
            if hook.ignore_failure:
                _log.warning("webhook failed, going on without it", webhook=hook.name, reason=str(err))
                return review.obj
            raise broken(f'failed calling webhook "{hook.name}": {err}') from None

    async def _call(self, hook: Hook, review: Review, uid: str) -> Json:
        url, name = self._where(hook)
        body = msgspec.json.encode(review.request(uid))
        shown = f'failed to call webhook: Post "{url}?timeout={hook.timeout:g}s"'
        try:
            host, port, path = split(url)
            place = Place(host, port, self._context(hook.client.ca_bundle or ""), name)
            path += f"{'&' if '?' in path else '?'}timeout={hook.timeout:g}s"
            async with asyncio.timeout(hook.timeout):
                answer = await self._poster.post(place, path, body)
        except TimeoutError:
            raise CallFailed(f"{shown}: context deadline exceeded") from None
        except (PostFailed, OSError, ValueError) as err:
            raise CallFailed(f"{shown}: {err}") from None
        if answer.status != 200:
            raise CallFailed(f"{shown}: unexpected status {answer.status}: {answer.body[:200].decode(errors='replace')}")
        return _response(answer.body, uid)

    def _where(self, hook: Hook) -> tuple[str, str]:
        """URL to call and the name that its certificate must carry. Raises: CallFailed."""
        if url := hook.client.url:
            return url, ""
        service = hook.client.service or ServiceReference()
        address = self._endpoint(service.namespace, service.name, service.port or 443)
        return f"https://{address}/{(service.path or '').lstrip('/')}", f"{service.name}.{service.namespace}.svc"

    def _endpoint(self, namespace: str, name: str, port: int) -> str:
        service = self._store.get("services", namespace, name)
        if service is None:
            raise CallFailed(f'failed to call webhook: service "{name}" not found')
        spec = service.decode().get("spec", {})
        if spec.get("type") == "ExternalName":
            return f"{spec.get('externalName')}:{port}"
        wanted = next((entry for entry in spec.get("ports") or () if entry.get("port") == port), None)
        if wanted is None:
            raise CallFailed(f'failed to call webhook: service "{name}" has no port {port}')
        endpoints = self._store.get("endpoints", namespace, name)
        for subset in (endpoints.decode().get("subsets") or ()) if endpoints else ():
            for address in subset.get("addresses") or ():
                for entry in subset.get("ports") or ():
                    if len(subset["ports"]) == 1 or entry.get("name", "") == wanted.get("name", ""):
                        return f"{address['ip']}:{entry['port']}"
        raise CallFailed(f'failed to call webhook: no endpoints available for service "{name}"')

    def _context(self, bundle: str) -> ssl.SSLContext:
        context = self._contexts.get(bundle)
        if context is None:
            try:
                pem = base64.b64decode(bundle).decode() if bundle else None
                context = ssl.create_default_context(cadata=pem)
            except (ssl.SSLError, ValueError, binascii.Error) as err:
                raise CallFailed(f"failed to call webhook: unable to load root certificates: {err}") from None
            self._contexts[bundle] = context
        return context


def _response(raw: bytes, uid: str) -> Json:
    try:
        review = msgspec.json.decode(raw)
        response = review["response"]
        if response.get("uid") != uid:
            raise CallFailed(f"expected response.uid={uid!r}, got {response.get('uid')!r}")
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as err:
        raise CallFailed(f"the answer is no AdmissionReview: {err!r}") from None
    else:
        result: Json = response
        return result


def _denial(name: str, status: Json) -> Refused:
    code = status.get("code") or 0
    said = status.get("message") or status.get("reason") or ""
    text = f'admission webhook "{name}" denied the request' + (f": {said}" if said else " without explanation")
    return Refused(max(code, 400), status.get("reason") or "", text, status.get("details"))


def _patched(obj: Any, response: Json) -> Any:
    if not response.get("patch"):
        return obj
    if response.get("patchType") not in ("JSONPatch", None):
        raise CallFailed(f"unsupported patch type {response['patchType']!r}")
    try:
        operations = msgspec.json.decode(base64.b64decode(response["patch"]))
        # a patch must not reach into the object that others still hold
        return patches.apply_json(msgspec.json.decode(msgspec.json.encode(obj)), operations)
    except (msgspec.DecodeError, ValueError, ApiError) as err:
        raise CallFailed(f"the patch does not apply: {err}") from None
