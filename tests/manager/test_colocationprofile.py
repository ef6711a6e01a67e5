"""Profiles for pods that exist already: only waiting ones, only what may still change, slowly."""

import msgspec
import pytest

from koordinator.api.config import ClusterColocationProfile
from koordinator.api.registry import CLUSTER_COLOCATION_PROFILES, PODS
from koordinator.clock import ManualClock
from koordinator.manager.controllers.colocationprofile import Bucket, WholePod, matches, patch_for
from koordinator.manager.seen import LabelledPod
from waiting import until

MANAGED = {"config.koordinator.sh/controller-managed": "true"}
SPEC = {"selector": {"matchLabels": {"job": "etl"}}, "labels": {"by": "profile"}, "schedulerName": "koord-scheduler"}


def profile(**spec):
    return msgspec.convert({"metadata": {"name": "late"}, "spec": {**SPEC, **spec}}, ClusterColocationProfile)


def pod(labels=None, node="", phase="Pending"):
    metadata = {"name": "p", "namespace": "ns", "labels": {"job": "etl"} if labels is None else labels}
    return msgspec.convert({"metadata": metadata, "spec": {"nodeName": node}, "status": {"phase": phase}}, LabelledPod)


TEAM = {"namespaceSelector": {"matchLabels": {"team": "data"}}}


@pytest.mark.parametrize(
    ("given", "asked", "namespace", "wanted"),
    [
        (profile(), pod(), {}, True),
        (profile(), pod(labels={}), {}, False),
        (profile(), pod(node="n1"), {}, False),
        (profile(), pod(phase="Running"), {}, False),
        (profile(selector=None), pod(), {}, False),
        (profile(selector={}), pod(labels={}), {}, True),
        (profile(**TEAM), pod(), {"team": "data"}, True),
        (profile(**TEAM), pod(), {"team": "web"}, False),
        (profile(**TEAM), pod(), None, False),
    ],
)
def test_who_is_meant(given, asked, namespace, wanted):
    assert matches(given, asked, namespace) is wanted


def test_only_what_may_still_change_is_patched():
    body = {"metadata": {"name": "p", "labels": {"job": "etl"}}, "spec": {"schedulerName": "other", "unknown": [1]}}
    given = profile(qosClass="BE", priorityClassName="koord-batch", labelSuffixes={"job": "-x"}, annotations={"a": "b"})
    labels = {"job": "etl-x", "by": "profile", "koordinator.sh/qosClass": "BE"}
    assert patch_for(given, msgspec.convert(body, WholePod)) == {"metadata": {"labels": labels, "annotations": {"a": "b"}}}
    done = {"metadata": {"labels": {"job": "etl", "by": "profile"}}}
    assert patch_for(profile(), msgspec.convert(done, WholePod)) == {}


def test_tokens_run_out_and_grow_back():
    clock = ManualClock()
    bucket = Bucket(clock, qps=2.0, burst=3)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    clock.advance(0.5)
    assert [bucket.take(), bucket.take()] == [True, False]


async def test_on_a_server_a_waiting_pod_is_updated_if_the_profile_asks_for_it(cluster, run_manager):
    await cluster.pod("waiting", labels={"job": "etl"})
    async with run_manager(cluster.client, gates="ColocationProfileController=true"):
        body = {"metadata": {"name": "late"}, "spec": SPEC}
        await cluster.client.create(CLUSTER_COLOCATION_PROFILES, body)
        broken = {"metadata": {"name": "broken", "labels": MANAGED}, "spec": {"selector": {"matchLabels": {"": ""}}}}
        await cluster.client.create(CLUSTER_COLOCATION_PROFILES, broken)
        await cluster.client.patch(CLUSTER_COLOCATION_PROFILES, "late", {"metadata": {"labels": MANAGED}})

        async def updated():
            return (await cluster.client.get(PODS, "waiting", "default")).labels.get("by") == "profile"

        await until(updated)
    found = await cluster.client.get(PODS, "waiting", "default")
    assert found.spec.scheduler_name != "koord-scheduler"
