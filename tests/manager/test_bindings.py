"""The binding webhook: whom it lets through and why, and that it never stops what is not in its scope."""

import base64
import itertools
import ssl

import aiohttp
import msgspec
import pytest

from koordinator.api.core import Pod
from koordinator.api.registry import CLUSTER_COLOCATION_PROFILES, RESERVATIONS
from koordinator.manager.options import ManagerOptions
from koordinator.manager.webhooks.admission import Request
from koordinator.manager.webhooks.bindings import MESSAGE, BindingRules, BindingWebhook
from koordinator.manager.webhooks.registration import VALIDATING
from waiting import until

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

    async def find(*_):
        return found

    answer = await BindingWebhook(rules, find, decisions.append).validate(asked)
    assert decisions == ([decision] if decision else [])
    assert answer.allowed is (decision != "denied")
    assert (answer.code, answer.message) == ((403, MESSAGE) if decision == "denied" else (200, ""))


async def ask(client, user, name):
    """As an API server asks about a binding, at the registered address."""
    found = await client.get(VALIDATING, "koordinator-validating-webhook-configuration")
    (entry,) = (one for one in found.webhooks if one["name"] == "vpodbinding.koordinator.sh")
    assert (entry["failurePolicy"], entry["rules"][0]["resources"]) == ("Ignore", ["pods/binding"])
    context = ssl.create_default_context(cadata=base64.b64decode(entry["clientConfig"]["caBundle"]).decode())
    question = {"uid": "u", "resource": {"group": "", "version": "v1", "resource": "pods"}, "subResource": "binding"}
    question |= {"operation": "CREATE", "namespace": "default", "name": name, "userInfo": {"username": user}}
    url = entry["clientConfig"]["url"]
    async with aiohttp.ClientSession() as session, session.post(url, json={"request": question}, ssl=context) as answer:
        return (await answer.json())["response"]


@pytest.mark.slow
async def test_it_is_registered_and_knows_pods_at_once_and_reservations_are_mutated(cluster, run_manager):
    gates = "BindingAdmissionWebhook=true,ReservationMutatingWebhook=true"
    rules = BindingRules(users=("our-scheduler",), namespaces=("default",), bypass_labels=("let-me",))
    async with run_manager(cluster.client, ManagerOptions(bindings=rules), gates) as manager:
        for name, labels in (("guarded", {}), ("free", {"let-me": "in"})):
            await cluster.pod(name, labels=labels)
        refused = await ask(cluster.client, "intruder", "guarded")
        assert (refused["allowed"], refused["status"]["message"]) == (False, MESSAGE)
        assert (await ask(cluster.client, "our-scheduler", "guarded"))["allowed"]
        assert (await ask(cluster.client, "intruder", "free"))["allowed"]
        assert b'binding_admission_decisions_total{decision="denied"} 1.0' in manager.metrics.text()
        profile = {"metadata": {"name": "all"}, "spec": {"labels": {"by": "profile"}}}
        await cluster.client.create(CLUSTER_COLOCATION_PROFILES, profile)

        async def reserved():
            template = {"spec": {"containers": [{"name": "c", "image": "x"}]}}
            spec = {"template": template, "owners": [{"object": {"name": "o"}}]}
            body = {"metadata": {"name": f"r-{next(numbers)}"}, "spec": spec}
            return (await cluster.client.create(RESERVATIONS, body)).labels.get("by") == "profile"

        numbers = itertools.count()
        await until(reserved)
