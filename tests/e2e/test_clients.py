"""The usual Python client libraries, each as its documentation uses it: create, read, update, watch, delete.

They find the cluster through the kubeconfig that users get: https, the cluster's CA, a bearer token.
"""

import asyncio
import gc
import warnings

import pytest

from waiting import until

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "default", "labels": {"app": "a"}},
    "spec": {"containers": [{"name": "main", "image": "pause:3"}]},
}
PROFILE = {
    "apiVersion": "config.koordinator.sh/v1alpha1",
    "kind": "ClusterColocationProfile",
    "metadata": {"name": "batch"},
    "spec": {"qosClass": "BE", "selector": {"matchLabels": {"tier": "batch"}}},
}


@pytest.fixture(autouse=True)
def connections_left_open_are_the_libraries_matter():
    """None of them closes all that it opened; that must not fail the next test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.slow
async def test_kubernetes(apiserver):
    """The official client: typed objects, a dynamic client for custom ones."""

    def story():
        from kubernetes import client, config, dynamic, watch

        api = config.new_client_from_config(str(apiserver.kubeconfig))
        core = client.CoreV1Api(api)
        start = core.list_namespaced_pod("default").metadata.resource_version
        made = core.create_namespaced_pod("default", POD)
        assert (made.status.phase, made.spec.restart_policy) == ("Pending", "Always")
        assert core.read_namespaced_pod("p", "default").metadata.uid == made.metadata.uid
        made.metadata.labels["app"] = "b"
        assert core.replace_namespaced_pod("p", "default", made).metadata.labels == {"app": "b"}
        core.patch_namespaced_pod("p", "default", {"metadata": {"annotations": {"note": "x"}}})
        assert [pod.metadata.name for pod in core.list_namespaced_pod("default", label_selector="app=b").items] == ["p"]
        with pytest.raises(client.ApiException) as caught:
            core.create_namespaced_pod("default", POD)
        assert (caught.value.status, caught.value.reason) == (409, "Conflict")
        core.delete_namespaced_pod("p", "default", grace_period_seconds=0)
        events = watch.Watch().stream(core.list_namespaced_pod, "default", resource_version=start, timeout_seconds=1)
        seen = [(event["type"], event["object"].metadata.labels["app"]) for event in events]
        assert seen == [("ADDED", "a"), ("MODIFIED", "b"), ("MODIFIED", "b"), ("DELETED", "b")]

        profiles = dynamic.DynamicClient(api).resources.get(api_version=PROFILE["apiVersion"], kind=PROFILE["kind"])
        profiles.create(body=PROFILE)
        assert profiles.get(name="batch").spec.qosClass == "BE"
        profiles.patch(name="batch", body={"spec": {"qosClass": "LS"}}, content_type="application/merge-patch+json")
        assert [(item.metadata.name, item.spec.qosClass) for item in profiles.get().items] == [("batch", "LS")]
        profiles.delete(name="batch")
        assert profiles.get().items == []
        assert client.VersionApi(api).get_code().minor == "34"
        assert (
            client.AuthorizationV1Api(api)
            .create_self_subject_access_review({"spec": {"resourceAttributes": {"verb": "create", "resource": "pods"}}})
            .status.allowed
        )

        api.rest_client.pool_manager.clear()

    await asyncio.to_thread(story)


@pytest.mark.slow
async def test_kr8s(apiserver):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kr8s.asyncio
        from kr8s.asyncio.objects import Pod, new_class

        api = await kr8s.asyncio.api(kubeconfig=str(apiserver.kubeconfig))
        seen = []

        async def watch():
            async for type_, pod in api.watch("pods", namespace="default"):
                seen.append((type_, pod.labels.get("app")))
                if type_ == "DELETED":
                    return

        pod = await Pod(POD, api=api)
        await pod.create()
        watching = asyncio.create_task(watch())
        await until(lambda: seen)
        assert await pod.exists()
        await pod.label({"app": "b"})
        await pod.patch({"metadata": {"annotations": {"note": "x"}}})
        assert [found.name async for found in api.get("pods", namespace="default", label_selector="app=b")] == ["p"]
        await pod.refresh()
        assert pod.annotations["note"] == "x"
        await pod.delete(grace_period=0)
        await asyncio.wait_for(watching, 20)
        assert (seen[0], seen[-1]) == (("ADDED", "a"), ("DELETED", "b"))

        profiles = new_class(kind=PROFILE["kind"], version=PROFILE["apiVersion"], namespaced=False)
        profile = await profiles(PROFILE, api=api)
        await profile.create()
        assert [found.spec.qosClass async for found in api.get("clustercolocationprofiles")] == ["BE"]
        await profile.delete()
        assert not await profile.exists()


@pytest.mark.slow
async def test_lightkube(apiserver):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightkube import AsyncClient, KubeConfig
        from lightkube.core.exceptions import ApiError
        from lightkube.generic_resource import create_global_resource
        from lightkube.models.meta_v1 import ObjectMeta
        from lightkube.resources.core_v1 import Pod

        client = AsyncClient(config=KubeConfig.from_file(apiserver.kubeconfig), namespace="default")
        seen = []

        async def watch():
            async for type_, pod in client.watch(Pod, namespace="default"):
                seen.append((type_, pod.metadata.labels["app"]))
                if type_ == "DELETED":
                    return

        made = await client.create(Pod.from_dict(POD))
        watching = asyncio.create_task(watch())
        await until(lambda: seen)
        assert made.status.phase == "Pending"
        made.metadata.labels["app"] = "b"
        assert (await client.replace(made)).metadata.labels == {"app": "b"}
        await client.patch(Pod, "p", {"metadata": {"annotations": {"note": "x"}}})
        assert [pod.metadata.name async for pod in client.list(Pod, labels={"app": "b"})] == ["p"]
        with pytest.raises(ApiError) as caught:
            await client.get(Pod, "none")
        assert (caught.value.status.code, caught.value.status.reason) == (404, "NotFound")
        await client.delete(Pod, "p", grace_period=0)
        await asyncio.wait_for(watching, 20)
        assert (seen[0], seen[-1]) == (("ADDED", "a"), ("DELETED", "b"))

        profiles = create_global_resource("config.koordinator.sh", "v1alpha1", PROFILE["kind"], "clustercolocationprofiles")
        await client.create(profiles(metadata=ObjectMeta(name="batch"), spec=PROFILE["spec"]))
        assert (await client.get(profiles, "batch")).spec["qosClass"] == "BE"
        await client.delete(profiles, "batch")
        assert [item async for item in client.list(profiles)] == []
        await client.close()
