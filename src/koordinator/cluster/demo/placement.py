"""The demo where no real process may run: batch resources are sold by hollow nodes and the pods are placed on them."""

import asyncio

from koordinator.api import registry
from koordinator.cluster.demo.manifests import folder
from koordinator.cluster.state import DataDir
from koordinator.cluster.status import look
from koordinator.errors import Unavailable
from koordinator.kube import config
from koordinator.kube.apply import apply, manifests_at
from koordinator.kube.client import Client

PATIENCE = 60.0


async def show(data: DataDir) -> str:
    """Apply the demo's manifests, wait until all pods run, and say where. Raises Unavailable after a minute."""
    async with Client(config.load(str(data.component_kubeconfig))) as client:
        manifests = manifests_at(folder())
        for manifest in manifests:
            await apply(client, manifest)
        wanted = sum(manifest.body.get("spec", {}).get("parallelism", 1) for manifest in manifests if _has_pods(manifest.body))
        try:
            async with asyncio.timeout(PATIENCE):
                placed = await _placed(client, wanted)
        except TimeoutError:
            raise Unavailable("demo", f"not all {wanted} pods run after {PATIENCE:.0f} s", f"see {data.logs}") from None
    return f"{(await look(data)).text()}\n\n{placed}"


def _has_pods(body: dict[str, object]) -> bool:
    return body["kind"] in ("Deployment", "Job", "Pod")


async def _placed(client: Client, wanted: int) -> str:
    while True:
        pods = (await client.list(registry.PODS, "demo")).items
        if sum(pod.status.phase == "Running" for pod in pods) >= wanted:
            return "\n".join(f"{pod.name} runs on {pod.spec.node_name}" for pod in sorted(pods, key=lambda pod: pod.name))
        await asyncio.sleep(0.2)
