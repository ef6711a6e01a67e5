"""One patch for all that PreBind plugins have to say."""

import pytest

from koordinator.api.registry import PODS
from koordinator.clock import ManualClock, SystemClock
from koordinator.kube.errors import Conflict, ServerUnavailable
from koordinator.scheduler.engine.framework import Code
from koordinator.scheduler.engine.hooks import Changes
from koordinator.scheduler.plugins.default_pre_bind import DefaultPreBind, patch_of
from scheduler.builders import READER, info


async def create(client, **meta):
    body = {"metadata": {"name": "p", **meta}, "spec": {"containers": [{"name": "m", "image": "pause"}]}}
    return READER.read(await client.create(PODS, body, "default"))


async def test_annotations_and_labels_are_written_at_once(apiserver):
    pod = await create(apiserver.client, annotations={"old": "1", "gone": "x"})
    plugin = DefaultPreBind(apiserver.client, SystemClock())
    changes = Changes(annotations={"old": "1", "new": "2", "gone": None}, labels={"l": "v"})
    assert await plugin.apply_patch(pod, changes) is None
    meta = (await apiserver.client.get(PODS, "p", "default")).metadata
    assert (meta.annotations, meta.labels) == ({"old": "1", "new": "2"}, {"l": "v"})


async def test_a_successor_of_the_same_name_is_not_touched(apiserver):
    pod = await create(apiserver.client)
    await apiserver.client.delete(PODS, "p", "default")
    await create(apiserver.client)
    with pytest.raises(Conflict):
        await DefaultPreBind(apiserver.client, SystemClock()).apply_patch(pod, Changes(labels={"l": "v"}))
    assert (await apiserver.client.get(PODS, "p", "default")).metadata.labels is None


async def test_a_pod_that_is_being_deleted_is_not_bound(apiserver):
    pod = await create(apiserver.client, finalizers=["example.com/keep"])
    await apiserver.client.delete(PODS, "p", "default")
    status = await DefaultPreBind(apiserver.client, SystemClock()).apply_patch(pod, Changes(labels={"l": "v"}))
    assert (status.code, status.message) == (Code.ERROR, "pod is being deleted")


def test_what_the_pod_has_already_is_not_sent():
    pod = info(labels={"a": "1"})
    assert patch_of(pod, Changes(labels={"a": "1"})) is None
    assert patch_of(pod, Changes()) is None
    assert patch_of(pod, Changes(labels={"a": "1", "b": None})) is None


class Flaky:
    """A store that says no a few times."""

    def __init__(self, pod, failures):
        self.pod, self.failures, self.calls = pod, failures, 0

    async def patch(self, *_, **__):
        self.calls += 1
        if self.calls <= self.failures:
            raise ServerUnavailable(503, "ServiceUnavailable", "later")
        return self.pod


@pytest.mark.parametrize(("failures", "calls", "fails"), [(0, 1, False), (3, 4, False), (4, 4, True)])
async def test_later_is_asked_again_three_times(failures, calls, fails):
    pod = info()
    store, clock = Flaky(pod.pod, failures), ManualClock()

    async def sleep(_): ...

    clock.sleep = sleep
    plugin = DefaultPreBind(store, clock)
    if fails:
        with pytest.raises(ServerUnavailable):
            await plugin.apply_patch(pod, Changes(labels={"l": "v"}))
    else:
        assert await plugin.apply_patch(pod, Changes(labels={"l": "v"})) is None
    assert store.calls == calls
