"""Webhook configurations: their rules, and which requests a rule asks for."""

from collections.abc import Iterator

import msgspec

from koordinator.api import selectors
from koordinator.api.meta import LabelSelector, Object
from koordinator.cluster.apiserver.kinds import columns
from koordinator.cluster.apiserver.kinds.base import Json, Kind, Rules
from koordinator.cluster.apiserver.refusals import FieldError, required, unsupported, wrong
from koordinator.kube.semantics.cel import CelError, Program, compile_

_CONDITION_VARIABLES = frozenset({"object", "oldObject", "request"})


class Rule(msgspec.Struct, frozen=True, rename="camel"):
    """Which requests a webhook asks for."""

    api_groups: list[str] = []
    api_versions: list[str] = []
    operations: list[str] = []
    resources: list[str] = []
    scope: str = "*"

    def wants(self, kind: Kind, subresource: str, operation: str) -> bool:
        scope = "Namespaced" if kind.namespaced else "Cluster"
        return (
            _listed(self.operations, operation)
            and _listed(self.api_groups, kind.group)
            and _listed(self.api_versions, kind.version)
            and self.scope in ("*", scope)
            and any(_covers(pattern, kind.plural, subresource) for pattern in self.resources)
        )


class ServiceReference(msgspec.Struct, rename="camel"):
    namespace: str = ""
    name: str = ""
    path: str | None = None
    port: int | None = None


class ClientConfig(msgspec.Struct, rename="camel"):
    """Where a webhook listens and who vouches for it."""

    url: str | None = None
    service: ServiceReference | None = None
    ca_bundle: str | None = None


class MatchCondition(msgspec.Struct):
    """An expression that must be true for the webhook to be asked."""

    name: str = ""
    expression: str = ""


class Webhook(msgspec.Struct, rename="camel"):
    """One entry of a configuration."""

    name: str = ""
    client_config: ClientConfig | None = None
    rules: list[Rule] | None = None
    failure_policy: str = "Fail"
    timeout_seconds: int = 10
    namespace_selector: LabelSelector | None = None
    object_selector: LabelSelector | None = None
    reinvocation_policy: str | None = None
    side_effects: str | None = None
    admission_review_versions: list[str] | None = None
    match_conditions: list[MatchCondition] | None = None


class WebhookConfiguration(Object):
    webhooks: list[Webhook] | None = None


class WebhookConfigurationRules(Rules):
    """Both kinds of configuration."""

    model = WebhookConfiguration
    columns = columns.WEBHOOKS
    generation = True

    def default(self, obj: Json) -> None:
        for hook in obj.get("webhooks") or ():
            for field, value in (("failurePolicy", "Fail"), ("matchPolicy", "Equivalent"), ("timeoutSeconds", 10)):
                hook.setdefault(field, value)
            hook.setdefault("namespaceSelector", {})
            hook.setdefault("objectSelector", {})
            if obj.get("kind") == "MutatingWebhookConfiguration":
                hook.setdefault("reinvocationPolicy", "Never")
            for rule in hook.get("rules") or ():
                rule.setdefault("scope", "*")

    def validate(self, obj: Json) -> Iterator[FieldError]:
        for index, hook in enumerate(obj.get("webhooks") or ()):
            yield from _errors(hook, f"webhooks[{index}]")


def _errors(hook: Json, path: str) -> Iterator[FieldError]:
    for field in ("name", "clientConfig", "sideEffects", "admissionReviewVersions"):
        if not hook.get(field):
            yield required(f"{path}.{field}")
    where = hook.get("clientConfig") or {}
    if bool(where.get("url")) == bool(where.get("service")):
        yield required(f"{path}.clientConfig", "exactly one of url or service is required")
    if not 1 <= (seconds := hook["timeoutSeconds"]) <= 30:
        yield wrong(f"{path}.timeoutSeconds", seconds, "the timeout value must be between 1 and 30 seconds")
    if hook["failurePolicy"] not in ("Fail", "Ignore"):
        yield unsupported(f"{path}.failurePolicy", hook["failurePolicy"], ("Fail", "Ignore"))
    for index, condition in enumerate(hook.get("matchConditions") or ()):
        yield from _condition_errors(condition, f"{path}.matchConditions[{index}]")
    for field in ("namespaceSelector", "objectSelector"):
        try:
            selectors.compile_(msgspec.convert(hook[field], LabelSelector))
        except ValueError as err:
            yield wrong(f"{path}.{field}", hook[field], str(err))


def _condition_errors(condition: Json, path: str) -> Iterator[FieldError]:
    if not condition.get("name"):
        yield required(f"{path}.name")
    try:
        compile_condition(condition.get("expression") or "")
    except CelError as err:
        yield wrong(f"{path}.expression", condition.get("expression", ""), str(err))


def compile_condition(expression: str) -> Program:
    """A match condition. Raises: CelError."""
    return compile_(expression, _CONDITION_VARIABLES)


def _listed(patterns: list[str], value: str) -> bool:
    return "*" in patterns or value in patterns


def _covers(pattern: str, plural: str, subresource: str) -> bool:
    resource, _, sub = pattern.partition("/")
    if pattern == "*/*":
        return True
    return resource in ("*", plural) and (sub in ("*", subresource) if sub else not subresource)
