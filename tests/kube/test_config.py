import base64
import os
import sys

import msgspec
import pytest
import yaml

from koordinator.api.meta import format_time
from koordinator.errors import ConfigInvalid, Unavailable
from koordinator.kube import config as kube_config
from koordinator.kube.client import Client
from koordinator.kube.config import ClientConfig, ExecPlugin, from_kubeconfig, in_cluster, load, write_kubeconfig
from koordinator.kube.errors import ServerUnavailable
from kube.fake_server import FastClock, Reply, Scripted, refusal


def b64(text):
    return base64.b64encode(text.encode()).decode()


def document(**changes):
    return {
        "current-context": "dev",
        "contexts": [
            {"name": "dev", "context": {"cluster": "c1", "user": "u1", "namespace": "shop"}},
            {"name": "prod", "context": {"cluster": "c2", "user": "u2"}},
        ],
        "clusters": [
            {"name": "c1", "cluster": {"server": "https://one:6443/", "certificate-authority-data": b64("CA")}},
            {"name": "c2", "cluster": {"server": "https://two", "insecure-skip-tls-verify": True, "tls-server-name": "x"}},
        ],
        "users": [
            {"name": "u1", "user": {"client-certificate": "certs/me.crt", "client-key-data": b64("KEY")}},
            {"name": "u2", "user": {"token": "t", "tokenFile": "/run/token"}},
        ],
    } | changes


@pytest.fixture
def kubeconfig(tmp_path):
    def write(name="config", **changes):
        path = tmp_path / name
        path.write_text(yaml.safe_dump(document(**changes)))
        return path

    return write


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)


def test_the_current_context_is_read(kubeconfig, tmp_path):
    config = load(str(kubeconfig()))
    assert (config.server, config.namespace, config.ca_data) == ("https://one:6443", "shop", "CA")
    assert (config.cert_file, config.key_data) == (str(tmp_path / "certs/me.crt"), "KEY")


def test_another_context_can_be_named(kubeconfig):
    config = load(str(kubeconfig()), context="prod")
    assert (config.server, config.namespace, config.insecure, config.tls_server_name) == ("https://two", "default", True, "x")
    assert config.token_file == "/run/token"


def test_master_replaces_the_server_only(kubeconfig):
    config = load(str(kubeconfig()), master="127.0.0.1:8080")
    assert (config.server, config.namespace) == ("http://127.0.0.1:8080", "shop")
    assert load(None, master="https://x").server == "https://x"


def test_the_places_are_searched_in_order(kubeconfig, monkeypatch, tmp_path):
    with pytest.raises(Unavailable, match="koord up"):
        load()
    home = tmp_path / "home/.kube/config"
    home.parent.mkdir(parents=True)
    home.write_text(kubeconfig().read_text().replace("https://one:6443", "https://home"))
    assert load().server == "https://home"
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("t")
    (account / "namespace").write_text("team\n")
    monkeypatch.setattr(kube_config, "SERVICE_ACCOUNT", account)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert load().server == "https://10.0.0.1:443"
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig()))
    assert load().server == "https://one:6443"


def test_in_cluster(tmp_path):
    (tmp_path / "namespace").write_text("team\n")
    config = in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}, tmp_path)
    assert (config.server, config.namespace) == ("https://[fd00::1]:6443", "team")
    assert (config.token_file, config.ca_file) == (str(tmp_path / "token"), str(tmp_path / "ca.crt"))


def test_several_files_are_joined(kubeconfig, monkeypatch, tmp_path):
    first = tmp_path / "first"
    first.write_text(yaml.safe_dump({"current-context": "prod"}))
    second = kubeconfig("second")
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([str(first), str(tmp_path / "missing"), str(second)]))
    assert load().server == "https://two"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"current-context": ""}, "current-context is '', must name a context"),
        ({"current-context": "nowhere"}, "contexts is 'nowhere', is not defined there"),
        ({"clusters": []}, "clusters is 'c1', is not defined there"),
        ({"users": None}, "users is 'u1', is not defined there"),
        ({"clusters": [{"name": "c1", "cluster": {"server": "ftp://x"}}]}, "must be an http or https URL"),
        ({"clusters": [{"name": "c1", "cluster": 3}]}, "must be a mapping"),
        ({"users": [{"name": "u1", "user": {"client-key-data": "%%%"}}]}, "client-key-data"),
        ({"users": [{"name": "u1", "user": {"exec": {"command": "x", "apiVersion": "v9"}}}]}, "exec.apiVersion is 'v9'"),
        ({"users": [{"name": "u1", "user": {"exec": {"args": ["x"]}}}]}, "must name a program"),
        ({"users": [{"name": "u1", "user": {"exec": "x"}}]}, "is not a readable context"),
    ],
)
def test_a_broken_kubeconfig_says_where(kubeconfig, changes, message):
    with pytest.raises(ConfigInvalid) as caught:
        load(str(kubeconfig(**changes)))
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["{", "- 1", "\x00"])
def test_an_unreadable_kubeconfig_says_so(tmp_path, text):
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConfigInvalid, match=str(path)):
        load(str(path))
    with pytest.raises(Unavailable, match="does not exist"):
        load(str(tmp_path / "missing"))


def test_what_is_written_reads_back_and_is_private(tmp_path):
    path = tmp_path / "new" / "kubeconfig"
    config = ClientConfig(
        server="https://127.0.0.1:7443", ca_data="CA", token="secret", cert_data="C", key_data="K", namespace="shop"
    )
    write_kubeconfig(path, msgspec.structs.replace(config, server="https://old"))
    write_kubeconfig(path, config)
    assert from_kubeconfig([path]) == config
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["kubeconfig"]


PLUGIN = """
import json, os, pathlib, sys
count = pathlib.Path(sys.argv[1])
runs = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(runs))
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
status = {"token": f"{os.environ['PREFIX']}-{runs}", "expirationTimestamp": sys.argv[2]}
print(json.dumps({"kind": "ExecCredential", "apiVersion": info["apiVersion"], "status": status}))
"""


def plugin(*args, code=PLUGIN, **settings):
    return ExecPlugin(command=sys.executable, args=("-c", code, *args), env=(("PREFIX", "tok"),), **settings)


async def test_an_exec_plugins_token_is_kept_until_it_expires(tmp_path):
    clock = FastClock()
    exec_plugin = plugin(str(tmp_path / "runs"), format_time(clock.now() + 60))
    async with Scripted({"GET /version": [Reply()]}) as server:
        async with Client(ClientConfig(server=server.config.server, exec_plugin=exec_plugin), clock) as client:
            await client.request("GET", "/version")
            await client.request("GET", "/version")
            clock.time += 55
            await client.request("GET", "/version")
        assert [request[3]["Authorization"] for request in server.requests] == ["Bearer tok-1", "Bearer tok-1", "Bearer tok-2"]


async def test_an_exec_plugin_is_asked_again_when_its_token_is_rejected(tmp_path):
    clock = FastClock()
    exec_plugin = plugin(str(tmp_path / "runs"), format_time(clock.now() + 3600))
    async with Scripted({"GET /version": [refusal(401, "Unauthorized"), Reply()]}) as server:
        async with Client(ClientConfig(server=server.config.server, exec_plugin=exec_plugin), clock) as client:
            await client.request("GET", "/version")
        assert server.requests[1][3]["Authorization"] == "Bearer tok-2"


@pytest.mark.parametrize(
    ("exec_plugin", "message"),
    [
        (
            plugin(code="import sys; sys.exit('please log in')", install_hint="run login"),
            "exit code 1: please log in; run login",
        ),
        (plugin(code="print('hello')"), "printed no ExecCredential"),
        (ExecPlugin(command="/no/such/plugin"), "No such file or directory"),
    ],
)
async def test_a_failing_plugin_says_why(exec_plugin, message):
    async with Client(ClientConfig(server="http://127.0.0.1:1", exec_plugin=exec_plugin), FastClock()) as client:
        with pytest.raises(ServerUnavailable, match=message):
            await client.request("GET", "/version")


async def test_a_missing_token_file_is_one_clear_error(tmp_path):
    async with Client(ClientConfig(server="http://127.0.0.1:1", token_file=str(tmp_path / "none")), FastClock()) as client:
        with pytest.raises(ServerUnavailable, match="token file"):
            await client.request("GET", "/version")


@pytest.mark.parametrize(
    "broken", [{"ca_data": "no pem"}, {"ca_file": "/no/such/ca"}, {"cert_data": "no pem"}, {"cert_file": "/no/such/cert"}]
)
async def test_a_broken_certificate_says_which(broken):
    with pytest.raises(ConfigInvalid, match=r"certificate|/no/such"):
        async with Client(ClientConfig(server="https://127.0.0.1:1", **broken)):
            pass
