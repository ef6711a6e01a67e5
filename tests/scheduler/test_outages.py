"""The API server goes away, for real, and comes back: what happened meanwhile is known, nobody is lost or bound twice."""

import contextlib
from urllib.parse import urlsplit

import numpy as np

from koordinator.api.registry import NODES, PODS
from koordinator.clock import SystemClock
from koordinator.cluster.apiserver.app import ApiServerOptions, serve
from koordinator.kube.client import Client
from koordinator.kube.config import ClientConfig
from scheduler.processes import add_node, add_pod, bound, running
from waiting import until


class Site:
    """A data directory and the port at which its API server is expected; another server on the data is not seen there."""

    def __init__(self, data):
        self.data, self.port = data, 0

    @contextlib.asynccontextmanager
    async def server(self, *, hidden=False):
        options = ApiServerOptions(data=self.data, http_port=0 if hidden else self.port)
        async with serve(options, SystemClock()) as server:
            if not self.port:
                self.port = urlsplit(server.url).port
            async with Client(self.config(server)) as client:
                yield client

    @staticmethod
    def config(server):
        return ClientConfig(server=server.url, token=server.token)


@contextlib.asynccontextmanager
async def scheduler_at(site, token):
    config = ClientConfig(server=f"http://127.0.0.1:{site.port}", token=token)
    async with Client(config) as client, running(client) as app:
        yield app


def columns_of(app):
    """What the scheduler believes of each node."""
    columns = app.scheduler.cluster.columns
    return {
        name: (dict(columns.labels_of(row)), columns.allocatable[row].tolist(), columns.requested[row].tolist())
        for name, row in columns.row_of.items()
    }


async def test_what_changed_while_the_api_was_away_is_known_afterwards(tmp_path):
    site = Site(tmp_path / "cluster")
    async with contextlib.AsyncExitStack() as life:
        async with serve(ApiServerOptions(data=site.data), SystemClock()) as server:
            site.port, token = urlsplit(server.url).port, server.token
            async with Client(site.config(server)) as client:
                app = await life.enter_async_context(scheduler_at(site, token))
                await add_node(client, "a")
                await add_node(client, "old")
                await client.patch(NODES, "old", {"spec": {"unschedulable": True}})
                await add_pod(client, "resident", "3", nodeName="a")
                await add_pod(client, "waits", "2")
                await until(lambda: app.queue and any(one.attempts for one in app.queue))
        async with site.server(hidden=True) as client:
            await client.delete(PODS, "resident", "default", grace_seconds=0)
            await client.delete(NODES, "old")
            await client.patch(NODES, "a", {"metadata": {"labels": {"zone": "z"}}})
            await add_node(client, "b", "2")
            await add_pod(client, "theirs", "1", schedulerName="theirs", nodeName="b")
            await add_pod(client, "new", "1", nodeSelector={"zone": "z"})
        async with site.server() as client:
            await until(lambda: bound(client, "waits"), 40)
            await until(lambda: bound(client, "new"), 40)
            await until(lambda: app.scheduler.cluster.assumed == 0, 40)
            async with running(client) as fresh:
                await until(lambda: len(fresh.scheduler.cluster.pods) == len(app.scheduler.cluster.pods) == 3)
                assert columns_of(app) == columns_of(fresh)
            await life.aclose()


async def test_pods_that_were_being_bound_are_bound_once_when_the_api_is_back(tmp_path):
    site = Site(tmp_path / "cluster")
    many = 60
    async with contextlib.AsyncExitStack() as life:
        async with serve(ApiServerOptions(data=site.data), SystemClock()) as server:
            site.port, token = urlsplit(server.url).port, server.token
            async with Client(site.config(server)) as client:
                for index in range(many):
                    await add_pod(client, f"p{index}", "1")
                app = await life.enter_async_context(scheduler_at(site, token))
                for name in "abcd":
                    await add_node(client, name, "10")
                await until(lambda: app.scheduler.cluster.assumed > 0)
        async with site.server() as client:
            await add_node(client, "e", "40")

            async def settled():
                pods = (await client.list(PODS, "default")).items
                return all(pod.spec.node_name for pod in pods)

            await until(settled, 60)
            pods = (await client.list(PODS, "default")).items
            assert len(pods) == many
            await until(lambda: app.scheduler.cluster.assumed == 0 and not len(app.queue))
            columns = app.scheduler.cluster.columns
            assert np.all(columns.requested[columns.alive] <= columns.allocatable[columns.alive])
            assert len(app.scheduler.cluster.pods) == many
            await life.aclose()
