"""What the whole process counts, scraped from a manager that runs."""

import socket
from functools import partial

import aiohttp

from koordinator.clock import SystemClock
from koordinator.manager import app
from koordinator.manager.options import Address, ManagerOptions
from waiting import component


async def test_the_clients_requests_are_counted_beside_the_managers_own(apiserver):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options = ManagerOptions(kubeconfig=str(apiserver.data / "component.kubeconfig"), metrics=Address(port=port))
    async with component(partial(app.run, options, SystemClock())):
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            text = await answer.text()
        assert 'rest_client_requests_total{code="200"' in text
        for queue in ("noderesource", "nodemetric", "nodeslo", "elasticquotaprofiles"):
            assert f'workqueue_depth{{name="{queue}"}} 0.0' in text
        assert text.count("# TYPE workqueue_depth gauge") == 1
        assert "koordinator_manager_is_leader 1.0" in text
