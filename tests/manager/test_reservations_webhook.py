"""Profiles apply to Reservations: metadata on the object, scheduler and priority in its template, no resources."""

import msgspec
import pytest

from koordinator.api.config import ClusterColocationProfile
from koordinator.api.core import PriorityClass
from koordinator.kube.patches import apply_json
from koordinator.manager.webhooks.admission import Request
from koordinator.manager.webhooks.pods.profiles import compile_profile
from koordinator.manager.webhooks.reservations import ReservationWebhook

SPEC = {
    "namespaceSelector": {"matchLabels": {"never": "asked"}},
    "selector": {"matchLabels": {"job": "etl"}},
    "labels": {"by": "profile"},
    "qosClass": "BE",
    "koordinatorPriority": 7,
    "schedulerName": "koord-scheduler",
    "priorityClassName": "koord-batch",
    "patch": {"spec": {"ttl": "1h"}},
}
AMOUNTS = {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}


class View:
    def __init__(self, spec):
        profile = msgspec.convert({"metadata": {"name": "to-batch"}, "spec": spec}, ClusterColocationProfile)
        self._profiles = [compile_profile(profile)]

    def profiles(self):
        return self._profiles

    async def priority_class(self, name):
        return PriorityClass(value=5000) if name == "koord-batch" else None


async def mutated(reservation, spec=SPEC, operation="CREATE"):
    about = {
        "resource": {"group": "scheduling.koordinator.sh", "resource": "reservations"},
        "operation": operation,
        "name": "r",
    }
    request = msgspec.convert(about, Request)
    request.object = msgspec.Raw(msgspec.json.encode(reservation))
    answer = await ReservationWebhook(View(spec)).mutate(request)
    return answer, apply_json(reservation, list(answer.patch))


async def test_metadata_goes_on_the_reservation_and_the_rest_into_its_template():
    given = {"metadata": {"name": "r", "labels": {"job": "etl"}}, "spec": {"template": {"spec": AMOUNTS}}}
    _, found = await mutated(given)
    assert found["metadata"]["labels"] == {
        "job": "etl",
        "by": "profile",
        "koordinator.sh/qosClass": "BE",
        "koordinator.sh/priority": "7",
    }
    template = found["spec"]["template"]["spec"]
    assert (template["schedulerName"], template["priority"]) == ("koord-scheduler", 5000)
    assert template["containers"] == AMOUNTS["containers"]
    assert found["spec"]["ttl"] == "1h"


@pytest.mark.parametrize(
    ("given", "operation"),
    [
        ({"metadata": {"name": "r"}, "spec": {"template": {"spec": AMOUNTS}}}, "CREATE"),
        ({"metadata": {"name": "r", "labels": {"job": "etl"}}, "spec": {}}, "UPDATE"),
    ],
    ids=["no match", "update"],
)
async def test_others_stay_as_they_are(given, operation):
    answer, found = await mutated(given, operation=operation)
    assert answer.allowed
    assert found == given


async def test_without_a_template_only_metadata_changes():
    _, found = await mutated({"metadata": {"name": "r", "labels": {"job": "etl"}}, "spec": {}})
    assert found["spec"] == {"ttl": "1h"}


async def test_a_missing_priority_class_denies():
    answer, _ = await mutated({"metadata": {"labels": {"job": "etl"}}}, {**SPEC, "priorityClassName": "nope"})
    assert answer.allowed
    answer, _ = await mutated(
        {"metadata": {"labels": {"job": "etl"}}, "spec": {"template": {}}}, {**SPEC, "priorityClassName": "nope"}
    )
    assert answer.allowed, "an empty template is none"
    given = {"metadata": {"labels": {"job": "etl"}}, "spec": {"template": {"spec": AMOUNTS}}}
    answer, _ = await mutated(given, {**SPEC, "priorityClassName": "nope"})
    assert (answer.code, '"nope" not found' in answer.message) == (500, True)
