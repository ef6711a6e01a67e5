"""The webhook on bindings: in chosen namespaces only chosen users may place pods (gate ``BindingAdmissionWebhook``).

Whatever is not clearly a foreign binding in scope is allowed: a broken guard must not stop scheduling.
"""

from collections.abc import Awaitable, Callable

import msgspec

from koordinator.api import keys
from koordinator.api.core import Pod
from koordinator.manager.webhooks.admission import ALLOWED, Answer, Request, denied

FindPod = Callable[[str, str], Awaitable[Pod | None]]

MESSAGE = "binding denied: username is not in the allowed list"


class BindingRules(msgspec.Struct, frozen=True, kw_only=True):
    """``users`` are parts of names that may bind; ``namespaces`` is the scope, ``*`` for all."""

    users: tuple[str, ...] = ()
    dry_run: bool = False
    namespaces: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ("kube-system",)
    bypass_labels: tuple[str, ...] = (keys.BINDING_ADMISSION_BYPASS,)
    bypass_annotations: tuple[str, ...] = ()


class BindingWebhook:
    """``validate`` answers. ``pod`` finds a pod by namespace and name, None when it cannot; ``decided`` counts decisions."""

    def __init__(self, rules: BindingRules, pod: FindPod, decided: Callable[[str], None] = lambda _: None) -> None:
        self._rules, self._pod, self._decided = rules, pod, decided

    async def validate(self, request: Request) -> Answer:
        ours = request.concerns("pods", subresource="binding") and request.operation == "CREATE"
        decision = await self._decide(request) if ours and self._rules.users else ""
        if decision:
            self._decided(decision)
        return denied(403, MESSAGE) if decision == "denied" else ALLOWED

    async def _decide(self, request: Request) -> str:
        """Which rule decides; empty when none does."""
        rules = self._rules
        if any(part in request.user_info.username for part in rules.users):
            return "allowed_username"
        if request.namespace in rules.excluded:
            return "excluded_ns"
        if not rules.namespaces:
            return ""
        if "*" not in rules.namespaces and request.namespace not in rules.namespaces:
            return "out_of_scope"
        return self._decide_by_pod(await self._pod(request.namespace, request.name))

    def _decide_by_pod(self, pod: Pod | None) -> str:
        if pod is None:
            return ""
        if any(key in pod.labels for key in self._rules.bypass_labels):
            return "bypass_label"
        if any(key in pod.annotations for key in self._rules.bypass_annotations):
            return "bypass_annotation"
        return "dry_run" if self._rules.dry_run else "denied"
