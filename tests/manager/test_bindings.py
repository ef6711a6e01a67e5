"""The binding webhook: whom it lets through and why, and that it never stops what is not in its scope."""

import msgspec
import pytest

from koordinator.api.core import Pod
from koordinator.manager.webhooks.admission import Request
from koordinator.manager.webhooks.bindings import MESSAGE, BindingRules, BindingWebhook

RULES = BindingRules(users=("koord-scheduler",), namespaces=("demo",), bypass_annotations=("let-through",))


def request(user="intruder", namespace="demo", **more):
    about = {"resource": {"resource": "pods"}, "subResource": "binding", "operation": "CREATE", "name": "p"}
    return msgspec.convert({**about, "namespace": namespace, "userInfo": {"username": user}, **more}, Request)


def pod(**metadata):
    return msgspec.convert({"metadata": {"name": "p", "namespace": "demo", **metadata}}, Pod)


PLAIN = pod()
CASES = [
    (RULES, request(), PLAIN, "denied"),
    (RULES, request("system:serviceaccount:koordinator-system:koord-scheduler"), PLAIN, "allowed_username"),
    (RULES, request(namespace="kube-system"), PLAIN, "excluded_ns"),
    (RULES, request(namespace="other"), PLAIN, "out_of_scope"),
    (RULES, request(), pod(labels={"koordinator.sh/binding-admission-bypass": ""}), "bypass_label"),
    (RULES, request(), pod(annotations={"let-through": "x"}), "bypass_annotation"),
    (BindingRules(users=("x",), namespaces=("*",), dry_run=True), request(), PLAIN, "dry_run"),
    (RULES, request(), None, ""),
    (BindingRules(users=("x",)), request(), PLAIN, ""),
    (BindingRules(namespaces=("*",)), request(), PLAIN, ""),
    (RULES, request(operation="UPDATE"), PLAIN, ""),
    (RULES, request(subResource="status"), PLAIN, ""),
]


@pytest.mark.parametrize(("rules", "asked", "found", "decision"), CASES)
async def test_each_rule_decides_in_its_turn(rules, asked, found, decision):
    decisions = []
    answer = await BindingWebhook(rules, lambda _: found, decisions.append).validate(asked)
    assert decisions == ([decision] if decision else [])
    assert answer.allowed is (decision != "denied")
    assert (answer.code, answer.message) == ((403, MESSAGE) if decision == "denied" else (200, ""))
