"""koord-scheduler as a process of its own: how it ends, and what it says then."""

import asyncio
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
import yaml

from koordinator.api.registry import LEASES
from waiting import until

SCRIPT = str(Path(sys.executable).parent / "koord-scheduler")
LEASE = ["--leader-elect-resource-namespace=kube-system", "--leader-elect-resource-name=mine"]
QUICK = ["--leader-elect-lease-duration=2s", "--leader-elect-renew-deadline=1s", "--leader-elect-retry-period=200ms"]


async def started(*arguments):
    return await asyncio.create_subprocess_exec(
        SCRIPT, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={"PATH": "/usr/bin"}
    )


async def ended(process):
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.slow
async def test_a_signal_gives_the_lease_back_and_ends_with_0(apiserver):
    kubeconfig = apiserver.data / "component.kubeconfig"
    process = await started(f"--kubeconfig={kubeconfig}", "--port=0", "--secure-port=0", *LEASE)

    async def led():
        held = [lease for lease in (await apiserver.client.list(LEASES, "kube-system")).items if lease.name == "mine"]
        return held and held[0].spec.holder_identity

    await until(led, 20)
    process.send_signal(signal.SIGTERM)
    code, _, err = await ended(process)
    assert (code, "Traceback" in err) == (0, False), err
    assert not await led()


@pytest.mark.slow
async def test_a_leader_that_cannot_renew_ends_with_1(apiserver):
    """Somebody else takes the Lease: every renewal is a conflict with what he wrote."""
    kubeconfig = apiserver.data / "component.kubeconfig"
    process = await started(f"--kubeconfig={kubeconfig}", "--port=0", "--secure-port=0", *LEASE, *QUICK)

    async def taken():
        held = [lease for lease in (await apiserver.client.list(LEASES, "kube-system")).items if lease.name == "mine"]
        if not held or not held[0].spec.holder_identity:
            return False
        theirs = {"holderIdentity": "somebody-else", "leaseDurationSeconds": 3600, "renewTime": "2999-01-01T00:00:00.000000Z"}
        await apiserver.client.patch(LEASES, "mine", {"spec": theirs}, "kube-system")
        return True

    await until(taken, 20)
    code, _, err = await ended(process)
    assert (code, "Traceback" in err) == (1, False), err
    assert "leaderelection lost" in err
    assert err.splitlines()[-1].startswith("koord-scheduler: the Lease kube-system/mine could not be renewed; ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run"], 1, "koord-scheduler: \"koord-scheduler\" does not take any arguments, got ['run']\n"),
        (["--port=-1"], 1, "koord-scheduler: --port -1 must be between 0 and 65535, inclusive. 0 for turning off insecure"),
        (["--kubeconfig=/nowhere"], 1, "koord-scheduler: kubeconfig: /nowhere does not exist; "),
    ],
)
async def test_what_cannot_start_says_so_and_ends_with_1(arguments, code, said):
    status, _, err = await ended(await started(*arguments))
    assert (status, err[: len(said)]) == (code, said)


@pytest.mark.slow
async def test_a_port_that_is_taken_is_named(apiserver):
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    kubeconfig = f"--kubeconfig={apiserver.data / 'component.kubeconfig'}"
    process = await started(kubeconfig, "--address=127.0.0.1", f"--port={port}", "--secure-port=0")
    code, _, err = await ended(process)
    assert (code, f"127.0.0.1:{port}: " in err, "Traceback" in err) == (1, True, False), err
    taken.close()


@pytest.mark.slow
async def test_the_configuration_is_written_as_it_would_run(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nleaderElection: {leaseDuration: 1m30s}\n"
    )
    written = tmp_path / "out.yaml"
    arguments = [f"--config={file}", f"--write-config-to={written}", "--leader-elect-resource-name=flag", "--profiling=false"]
    code, _, err = await ended(await started(*arguments))
    assert code == 0, err
    found = yaml.safe_load(written.read_text())
    lease = found["leaderElection"]
    assert (lease["leaseDuration"], lease["renewDeadline"], lease["resourceName"]) == ("1m30s", "10s", "flag")
    assert (found["enableProfiling"], found["clientConnection"]["qps"]) == (False, 50)
    again = tmp_path / "again.yaml"
    assert (await ended(await started(f"--config={written}", f"--write-config-to={again}")))[0] == 0
    assert again.read_text() == written.read_text()


@pytest.mark.slow
async def test_both_ports_answer(apiserver, unused_tcp_port_factory):
    http, https = unused_tcp_port_factory(), unused_tcp_port_factory()
    kubeconfig = f"--kubeconfig={apiserver.data / 'component.kubeconfig'}"
    ports = [f"--port={http}", f"--secure-port={https}", "--address=127.0.0.1", "--bind-address=127.0.0.1"]
    process = await started(kubeconfig, *ports, "--leader-elect=false", "--authentication-skip-lookup=true")
    async with aiohttp.ClientSession() as session:

        async def ready():
            try:
                async with session.get(f"http://127.0.0.1:{http}/readyz") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        await until(ready, 20)
        headers = {"Authorization": f"Bearer {apiserver.token}"}
        for given, status in ((headers, 200), ({}, 403)):
            async with session.get(f"https://127.0.0.1:{https}/configz", headers=given, ssl=False) as answer:
                assert answer.status == status
                if status == 200:
                    assert (await answer.json())["componentconfig"]["profiles"][0]["schedulerName"] == "koord-scheduler"
    process.send_signal(signal.SIGTERM)
    assert (await ended(process))[0] == 0
