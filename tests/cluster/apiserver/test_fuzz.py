"""Requests made up from the server's own OpenAPI documents: none may break it, lose a watch event or store an invalid object.

``KOORD_FUZZ_SECONDS`` says for how long; operations are taken in random order (``KOORD_FUZZ_SEED``).
"""

import asyncio
import os
import random
import time
import warnings

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

SECONDS = float(os.environ.get("KOORD_FUZZ_SECONDS", "15"))
SEED = int(os.environ.get("KOORD_FUZZ_SEED", "1"))
EXAMPLES = 4
REFUSED_ON_PURPOSE = {501, 504}  # what is not served here; a resource version from the future
LEFT_OUT = ("/admissionregistration.k8s.io/",)  # a webhook that does not answer breaks everything else, and must
NAMES = ("a", "b", "c")


class Replica:
    """A kind as a watch shows it."""

    def __init__(self, path):
        self.path, self.objects, self.rv = path, {}, 0

    async def follow(self, http, rv):
        async with http.session.get(f"{http.url}{self.path}?watch=1&resourceVersion={rv}", timeout=None) as response:
            buffer = b""
            async for chunk in response.content.iter_any():
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    self.take(msgspec.json.decode(line))

    def take(self, event):
        assert event["type"] in ("ADDED", "MODIFIED", "DELETED"), event
        key = key_of(event["object"])
        assert (event["type"] == "ADDED") is (key not in self.objects), (self.path, event["type"], key)
        self.rv = int(event["object"]["metadata"]["resourceVersion"])
        if event["type"] == "DELETED":
            del self.objects[key]
        else:
            self.objects[key] = event["object"]


def key_of(obj):
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def settled(case, chance):
    """Aim at few objects, so that requests meet; ask for answers, not for streams."""
    path = case.path_parameters
    if "namespace" in path and chance.random() < 0.9:
        path["namespace"] = "default"
    if "name" in path and chance.random() < 0.9:
        path["name"] = chance.choice(NAMES)
    for parameter in ("watch", "continue", "sendInitialEvents", "resourceVersionMatch"):
        case.query.pop(parameter, None)
    if chance.random() < 0.7:
        for parameter in (
            "dryRun",
            "resourceVersion",
            "fieldSelector",
            "labelSelector",
            "limit",
            "timeoutSeconds",
            "fieldValidation",
        ):
            case.query.pop(parameter, None)
    if isinstance(case.body, dict) and chance.random() < 0.8:
        case.body.pop("apiVersion", None)
        case.body.pop("kind", None)
        case.body["metadata"] = {"name": path.get("name", chance.choice(NAMES))}
    return case


def send_all(documents, http_url, token, counted):
    """Operation after operation until the time is up."""
    import requests
    import schemathesis

    chance, session = random.Random(SEED), requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    operations = [
        result.ok() for document in documents for result in schemathesis.openapi.from_dict(document).get_all_operations()
    ]
    operations = [one for one in operations if not any(part in one.path for part in LEFT_OUT)]
    chance.shuffle(operations)
    until = time.monotonic() + SECONDS
    for operation in operations:
        if time.monotonic() > until:
            break

        @seeded(SEED)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def send(case):
            if case.operation.path.endswith("customresourcedefinitions") and case.method == "DELETE":
                return
            sent = settled(case, chance).as_transport_kwargs(base_url=http_url)
            answer = session.request(**{key: sent[key] for key in sent if key != "cookies"}, timeout=20)
            counted[answer.status_code] = counted.get(answer.status_code, 0) + 1
            assert answer.status_code < 500 or answer.status_code in REFUSED_ON_PURPOSE, (sent, answer.text)
            if answer.status_code >= 400 and not answer.text.startswith("<"):
                assert answer.json()["kind"] == "Status", answer.text

        send()
    session.close()


async def versions_of(http, path):
    """The same path under every served version of its group, its own first."""
    root, group, version, plural = path.rsplit("/", 3)
    if root != "/apis":
        return [path]
    served = [one["version"] for one in (await http.get(f"/apis/{group}")).body["versions"]]
    return [path, *(f"/apis/{group}/{other}/{plural}" for other in served if other != version)]


async def stored_paths(http):
    """The path of every kind that is stored and can be watched, over all namespaces."""
    groups = (await http.get("/apis")).body["groups"]
    roots = ["/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups)]
    for root in roots:
        for resource in (await http.get(root)).body["resources"]:
            if "watch" in resource["verbs"] and "/" not in resource["name"]:
                yield f"{root}/{resource['name']}", resource["namespaced"]


@pytest.mark.slow
@pytest.mark.fuzz
async def test_requests_made_up_from_the_documents(http, apiserver):
    index = (await http.get("/openapi/v3")).body["paths"]
    documents = [(await http.get(place["serverRelativeURL"])).body for place in index.values()]
    kinds = [found async for found in stored_paths(http)]
    replicas, following = [], []
    for path, _ in kinds:
        listed = (await http.get(path)).body
        replica = Replica(path)
        replica.objects = {key_of(item): item for item in listed["items"]}
        replicas.append(replica)
        following.append(asyncio.create_task(replica.follow(http, listed["metadata"]["resourceVersion"])))
    counted = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            await asyncio.to_thread(send_all, documents, apiserver.url, apiserver.token, counted)
        for (path, namespaced), replica, task in zip(kinds, replicas, following, strict=True):
            assert not task.done(), (path, task)
            items = (await http.get(path)).body["items"]
            last = max((int(item["metadata"]["resourceVersion"]) for item in items), default=0)
            async with asyncio.timeout(20):
                while replica.rv < last and replica.objects != {key_of(item): item for item in items}:
                    await asyncio.sleep(0.01)
            assert replica.objects == {key_of(item): item for item in items}, path
            for item in items:
                await still_valid(http, path, item, namespaced=namespaced)
    except BaseException:
        print(f"KOORD_FUZZ_SEED={SEED}", counted)
        raise
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    assert counted.get(200, 0) + counted.get(201, 0) > 10, counted


async def still_valid(http, path, item, *, namespaced):
    """What is stored would be accepted again, as it is, under one of its versions: their schemas may differ."""
    namespace, name = key_of(item)
    replies = []
    for served in await versions_of(http, path):
        root, _, plural = served.rpartition("/")
        place = f"{root}/namespaces/{namespace}/{plural}" if namespaced else served
        body = item | {"apiVersion": root.removeprefix("/apis/").removeprefix("/api/")}
        replies.append(await http.put(f"{place}/{name}?dryRun=All", body))
        if replies[-1].code == 200:
            return
    raise AssertionError((path, name, [reply.body for reply in replies]))
