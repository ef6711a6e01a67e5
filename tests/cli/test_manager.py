"""`koord manager` and `koord-manager`: from flags and environment to options; wrong ones are one sentence."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from koordinator.api.registry import LEASES
from koordinator.cli import manager
from koordinator.cli.goflags import Misuse, parse
from koordinator.cli.manager import FLAGS, options_of
from koordinator.errors import ConfigInvalid
from koordinator.manager.options import Address
from koordinator.manager.webhooks.registration import MUTATING
from koordinator.manager.webhooks.service import CertWriter
from waiting import until

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "manager.md"


def options(*arguments, **environment):
    return options_of(parse(FLAGS, arguments), environment)


def test_the_defaults_are_those_of_the_protocol():
    found = options()
    assert (found.metrics, found.probes, found.pprof) == (Address("", 8080), Address("", 8000), Address("", 8090))
    assert (found.leader_elect, found.qps, found.burst) == (True, 30.0, 50)
    assert (found.config_namespace, found.config_name) == ("koordinator-system", "slo-controller-config")
    webhook = found.webhook
    assert (webhook.host, webhook.port, webhook.address, webhook.cert_writer) == ("", 9876, "0.0.0.0", CertWriter.SECRET)
    assert webhook.names.mutating == "koordinator-mutating-webhook-configuration"
    assert found.bindings.excluded == ("kube-system",)
    assert (found.profiles.interval, found.quota_retries.most) == (30.0, 3)


def test_flags_and_environment_reach_the_options():
    found = options(
        "-metrics-addr=127.0.0.1:9",
        "--health-probe-addr=0",
        "--enable-pprof=false",
        "--enable-leader-election=false",
        "--controllers=*,-nodeslo",
        "--noderesource-plugins=-MidResource,*",
        "--config-namespace=elsewhere",
        "--binding-admission-user-name=a, b",
        "--quota-update-retry-jitter=10ms",
        "--feature-gates=EnableQuotaAdmission=true",
        WEBHOOK_PORT="1234",
        WEBHOOK_HOST="10.0.0.1",
        WEBHOOK_CERT_DIR="/certs",
        POD_NAMESPACE="ours",
        MUTATING_WEBHOOK_NAME="koord-mutating-webhook-configuration",
    )
    assert (found.metrics, found.probes, found.pprof) == (Address("127.0.0.1", 9), None, None)
    assert (found.leader_elect, found.config_namespace) == (False, "elsewhere")
    assert (found.controllers, found.noderesource_plugins) == (("*", "-nodeslo"), ("-MidResource", "*"))
    assert (found.bindings.users, found.quota_retries.jitter) == (("a", "b"), 0.01)
    webhook = found.webhook
    assert (webhook.port, webhook.host, webhook.cert_writer, webhook.cert_dir) == (1234, "10.0.0.1", CertWriter.FS, "/certs")
    assert (webhook.names.namespace, webhook.names.mutating) == ("ours", "koord-mutating-webhook-configuration")
    assert options(WEBHOOK_CERT_WRITER="cert-manager").webhook.cert_writer is CertWriter.CERT_MANAGER


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--controllers=nodeslow"], {}, "--controllers: 'nodeslow' is not one of"),
        (["--noderesource-plugins=-Mid"], {}, "--noderesource-plugins: '-Mid' is not one of"),
        (["--metrics-addr=8080"], {}, "--metrics-addr is '8080', must be host:port or :port"),
        (["--pprof-addr=:99999"], {}, "--pprof-addr is ':99999'"),
        (["--leader-elect-resource-lock=endpoints"], {}, "only leases is supported"),
        ([], {"WEBHOOK_PORT": "web"}, "WEBHOOK_PORT is 'web', must be a port"),
        ([], {"WEBHOOK_CERT_WRITER": "vault"}, "WEBHOOK_CERT_WRITER is 'vault'"),
    ],
)
def test_a_wrong_value_is_named(arguments, environment, message):
    with pytest.raises(Misuse) as caught:
        options(*arguments, **environment)
    assert message in str(caught.value)


def test_an_unknown_gate_is_named():
    with pytest.raises(ConfigInvalid, match="unrecognized feature gate: NoSuchGate"):
        options("--feature-gates=NoSuchGate=true")


def test_every_flag_is_documented():
    text = DOCS.read_text()
    missing = [flag.name for flag in FLAGS[: -len(manager.goflags.LOG_FLAGS)] if f"`--{flag.name}`" not in text]
    assert not missing


def run(*arguments):
    command = [sys.executable, "-c", "from koordinator.cli.manager import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--no-such"], 2, "koord-manager: unknown flag: --no-such\n"),
        (["--feature-gates=X=true"], 1, "unrecognized feature gate: X"),
        (["--kubeconfig=/no/such/file"], 1, "/no/such/file"),
    ],
)
def test_the_script_ends_with_one_sentence(arguments, code, message):
    done = run(*arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_is_not_an_error():
    done = run("-h")
    assert done.returncode == 0
    assert "--noderesource-plugins" in done.stdout


@pytest.mark.slow
async def test_it_serves_until_sigterm(apiserver, tmp_path):
    """The whole process against a real API server."""
    kubeconfig = apiserver.data / "component.kubeconfig"
    flags = [f"--kubeconfig={kubeconfig}", "--metrics-addr=127.0.0.1:0", "--health-probe-addr=0", "--enable-pprof=false"]
    environment = {**os.environ, "WEBHOOK_HOST": "127.0.0.1", "WEBHOOK_CERT_DIR": str(tmp_path / "certs"), "WEBHOOK_PORT": "0"}
    command = [sys.executable, "-m", "koordinator", "manager", *flags]
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    try:

        async def leads():
            leases = (await apiserver.client.list(LEASES)).items
            return any(one.name == "koordinator-manager" and one.spec.holder_identity for one in leases)

        await until(leads, 20)

        async def registered():
            return (await apiserver.client.list(MUTATING)).items and (tmp_path / "certs" / "tls.crt").exists()

        await until(registered, 20)
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, said.decode()
    assert b"Traceback" not in said
