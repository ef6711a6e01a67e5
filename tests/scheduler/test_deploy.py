"""The manifests of ``deploy/scheduler``: a server takes them, our scheduler takes what they hand to it."""

from pathlib import Path

import aiohttp
import pytest
import yaml

from koordinator.cli.scheduler import options_of
from koordinator.clock import ManualClock
from koordinator.scheduler.app import App, SchedulerOptions
from koordinator.scheduler.profiles import shipped

FOLDER = Path(__file__).parents[2] / "deploy/scheduler"
PLACES = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/koordinator-system/serviceaccounts",
    "ConfigMap": "/api/v1/namespaces/koordinator-system/configmaps",
    "Deployment": "/apis/apps/v1/namespaces/koordinator-system/deployments",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}


def manifests():
    """In the order in which ``kubectl apply -f`` reads them."""
    return [obj for file in sorted(FOLDER.glob("*.yaml")) for obj in yaml.safe_load_all(file.read_text())]


def of_kind(kind):
    return [obj for obj in manifests() if obj["kind"] == kind]


@pytest.fixture
def config(tmp_path):
    """The ConfigMap as the Deployment mounts it."""
    (configured,) = of_kind("ConfigMap")
    volume = of_kind("Deployment")[0]["spec"]["template"]["spec"]["volumes"][0]["configMap"]
    assert volume["name"] == configured["metadata"]["name"]
    file = tmp_path / volume["items"][0]["path"]
    file.write_text(configured["data"][volume["items"][0]["key"]])
    return file


async def test_a_server_takes_every_object(apiserver):
    headers = {"Authorization": f"Bearer {apiserver.token}"}
    async with aiohttp.ClientSession(apiserver.url, headers=headers) as session:
        for obj in manifests():
            if obj["kind"] == "Namespace":
                continue  # the embedded cluster has it from the beginning
            for query in ("?fieldValidation=Strict&dryRun=All", "?fieldValidation=Strict"):
                async with session.post(PLACES[obj["kind"]] + query, json=obj) as answer:
                    assert (answer.status, obj["metadata"]["name"]) == (201, obj["metadata"]["name"]), await answer.text()


async def test_kubectl_takes_the_folder(kubectl):
    out = await kubectl(f"apply --dry-run=server -f {FOLDER}")
    assert len(out.splitlines()) == len(manifests())


def test_the_flags_are_understood_and_the_file_decides(config):
    (container,) = of_kind("Deployment")[0]["spec"]["template"]["spec"]["containers"]
    arguments = [argument.replace("/config/koord-scheduler.config", str(config)) for argument in container["args"]]
    options = options_of(arguments)[1]
    assert (options.http_port, options.secure.access.skip_lookup, options.leader_elect) == (10251, True, True)
    assert (options.election.namespace, options.election.name) == ("koordinator-system", "koord-scheduler")


def test_the_profile_is_the_one_that_runs_without_a_file(config, caplog):
    with_file = App(None, SchedulerOptions(config=str(config)), ManualClock()).profile
    without = App(None, SchedulerOptions(), ManualClock()).profile
    assert set(without.plugins) <= set(with_file.plugins)
    assert [(plugin.name, weight) for plugin, weight in with_file.scores] == [
        (one.name, weight) for one, weight in without.scores
    ]
    shipped_args = {one.name: one.args for one in shipped("koord-scheduler").plugin_config}
    (configured,) = of_kind("ConfigMap")
    file = yaml.safe_load(configured["data"]["koord-scheduler-config"])["profiles"][0]["pluginConfig"]
    for one in file:
        args = {key: value for key, value in one["args"].items() if key not in ("apiVersion", "kind")}
        assert shipped_args.get(one["name"], args) == args


def test_the_role_covers_what_plugins_watch():
    rules = of_kind("ClusterRole")[0]["rules"]
    granted = {(group, verb) for rule in rules for group in rule["apiGroups"] for verb in rule["verbs"]}
    native = {"", "apps", "policy", "scheduling.k8s.io"}  # by system:kube-scheduler
    watched = {plugin.resource.group for plugin in App(None, SchedulerOptions(), ManualClock()).watchers} - native
    assert [group for group in watched if not {(group, "watch"), (group, "*")} & granted] == []


def test_every_binding_names_the_account():
    (account,) = of_kind("ServiceAccount")
    assert of_kind("Deployment")[0]["spec"]["template"]["spec"]["serviceAccountName"] == account["metadata"]["name"]
    for binding in of_kind("ClusterRoleBinding"):
        (subject,) = binding["subjects"]
        assert (subject["name"], subject["namespace"]) == (account["metadata"]["name"], account["metadata"]["namespace"])
