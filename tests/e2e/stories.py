"""What stories about the scheduler share: nodes written by hand, pods, usage reports, questions to the scheduler."""

import contextlib
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from koordinator.api.meta import format_time
from koordinator.api.registry import NAMESPACES, NODE_METRICS, NODES, PODS
from koordinator.clock import SystemClock
from koordinator.cluster.state import DataDir
from koordinator.kube import config
from koordinator.kube.client import Client
from koordinator.kube.errors import AlreadyExists, NotFound
from waiting import until

NAMESPACE = "demo"


def koord(data: DataDir, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """A verb of the cluster on ``data``."""
    command = [sys.executable, "-m", "koordinator", *arguments, "--data", str(data.root)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert not check or done.returncode == 0, f"koord {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done


@contextlib.contextmanager
def control_plane(root: Path) -> Iterator[DataDir]:
    """A cluster without nodes of its own: stories bring theirs."""
    data = DataDir(root)
    koord(data, "up", "--detach", "--port", "0", "--no-this-machine")
    try:
        yield data
    finally:
        koord(data, "down")
        for log in sorted(data.logs.glob("*.log")):
            sys.stdout.write(f"==== {log.name}\n{log.read_text(errors='replace')[-3000:]}\n")


class Stage:
    """A running cluster and the means to make things happen on it."""

    def __init__(self, data: DataDir, client: Client) -> None:
        self.data, self.client = data, client
        self.scheduler = data.must_run().scheduler

    # -- nodes

    async def node(self, name: str, cpu: str = "16", memory: str = "64Gi", *, labels=None, annotations=None, **spec) -> None:
        has = {"cpu": cpu, "memory": memory, "pods": "110"}
        status = {"allocatable": has, "capacity": has, "conditions": [{"type": "Ready", "status": "True"}]}
        meta = {"name": name, "labels": labels or {}, "annotations": annotations or {}}
        await self.client.create(NODES, {"metadata": meta, "spec": spec, "status": status})

    async def annotate(self, node: str, **annotations: str | None) -> None:
        """``_`` stands for the domain of scheduling annotations."""
        told = {f"scheduling.koordinator.sh/{name.replace('_', '-')}": text for name, text in annotations.items()}
        await self.client.patch(NODES, node, {"metadata": {"annotations": told}})

    async def cordon(self, *names: str, closed: bool = True) -> None:
        for name in names:
            await self.client.patch(NODES, name, {"spec": {"unschedulable": closed}})

    async def usage(self, node: str, cpu: str, memory: str = "10Gi", **more) -> None:
        """A fresh report, as koordlet would send it."""
        used = {"nodeUsage": {"resources": {"cpu": cpu, "memory": memory}}, **more.pop("node_metric", {})}
        age = more.pop("age", 0.0)
        status = {"updateTime": format_time(SystemClock().now() - age), "nodeMetric": used, **more}
        with contextlib.suppress(AlreadyExists):
            await self.client.create(NODE_METRICS, {"metadata": {"name": node}, "spec": {}})
        await self.client.patch(NODE_METRICS, node, {"status": None}, subresource="status")
        await self.client.patch(NODE_METRICS, node, {"status": status}, subresource="status")

    # -- pods

    async def pod(self, name: str, cpu: str = "1", memory: str = "1Gi", *, labels=None, owner=None, **spec) -> None:
        resources = {"requests": {"cpu": cpu, "memory": memory}}
        containers = [{"name": "main", "image": "pause", "resources": resources}]
        meta = {"name": name, "labels": labels or {}} | ({"ownerReferences": [owner]} if owner else {})
        body = {"metadata": meta, "spec": {"schedulerName": "koord-scheduler", "containers": containers, **spec}}
        await self.client.create(PODS, body, NAMESPACE)

    async def gone(self, *names: str) -> None:
        """Delete pods and wait until the scheduler has noticed."""
        for name in names:
            with contextlib.suppress(NotFound):
                await self.client.delete(PODS, name, NAMESPACE, grace_seconds=0)
        await until(lambda: all(self.get(f"/apis/v1/explain/pods/{NAMESPACE}/{name}")[0] == 404 for name in names))

    async def where(self, name: str) -> str:
        return (await self.client.get(PODS, name, NAMESPACE)).spec.node_name or ""

    async def bound(self, name: str) -> str:
        """Wait until the pod is on a node; which."""

        async def there() -> str:
            return await self.where(name)

        await until(there, what=f"pod {name} on a node")
        return await self.where(name)

    async def refused(self, name: str, wanted: str = "") -> str:
        """Wait until the pod's condition says why not; what it says."""
        said = ""

        async def told() -> bool:
            nonlocal said
            found = (await self.client.get(PODS, name, NAMESPACE)).status.conditions or []
            said = next((one.message or "" for one in found if one.type == "PodScheduled" and one.status == "False"), "")
            return bool(said) and wanted in said

        try:
            await until(told, what=f"pod {name} refused")
        except AssertionError:
            raise AssertionError(f"pod {name} on {await self.where(name)!r}: {said!r}, wanted {wanted!r}") from None
        return said

    # -- the scheduler's debug endpoints

    def get(self, path: str) -> tuple[int, str]:
        return self.http("GET", path)

    def http(self, method: str, path: str, body: str = "") -> tuple[int, str]:
        request = urllib.request.Request(self.scheduler + path, body.encode() or None, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as err:
            return err.code, err.read().decode()

    def log(self) -> str:
        return (self.data.logs / "scheduler.log").read_text(errors="replace")


@contextlib.asynccontextmanager
async def stage(data: DataDir):
    """On a cluster that may have served other stories."""
    async with Client(config.load(str(data.component_kubeconfig))) as client:
        with contextlib.suppress(AlreadyExists):
            await client.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
        made = Stage(data, client)
        try:
            yield made
        finally:
            for pod in (await client.list(PODS, NAMESPACE)).items:
                await made.gone(pod.name)
            for resource in (NODES, NODE_METRICS):
                for one in (await client.list(resource)).items:
                    with contextlib.suppress(NotFound):
                        await client.delete(resource, one.name)
