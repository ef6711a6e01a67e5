"""`koord manager` and the console script `koord-manager`: the manager as a process of its own, with the Go manager's flags."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from koordinator.cli import goflags
from koordinator.cli.component import Component
from koordinator.cli.goflags import Flag, Misuse, duration, many, number, switch, text, whole

if TYPE_CHECKING:
    from koordinator.manager.controllers.colocationprofile import ProfileSettings
    from koordinator.manager.options import Address, ManagerOptions, WebhookOptions
    from koordinator.manager.webhooks.bindings import BindingRules
    from koordinator.manager.webhooks.quotas.admission import Retries

_BYPASS = "koordinator.sh/binding-admission-bypass"
_PLUGINS = "MidResource,BatchResource,CPUNormalization,ResourceAmplification,GPUDeviceResource,RDMADeviceResource"

FLAGS: tuple[Flag, ...] = (
    text("kubeconfig", "", "kubeconfig of the cluster; else $KUBECONFIG, else the pod's service account, else ~/.kube/config"),
    text("master", "", "address of the API server, instead of the kubeconfig's"),
    text("metrics-addr", ":8080", "where metrics are served; 0 for nowhere"),
    text("health-probe-addr", ":8000", "where /readyz and /healthz are served; 0 for nowhere"),
    switch("enable-pprof", "serve profiles of the running process", default=True),
    text("pprof-addr", ":8090", "where profiles are served"),
    switch("enable-leader-election", "controllers run on one replica only; webhooks on every one", default=True),
    text("leader-election-namespace", "koordinator-system", "namespace of the Lease koordinator-manager"),
    text("leader-elect-resource-lock", "leases", "kind of lock; only leases"),
    text("namespace", "", "restrict caches to one namespace"),
    text("sync-period", "", "accepted for compatibility: caches follow watches and need no resynchronisation"),
    many("controllers", "*", "controllers that run: names, -name for all but it, * for all"),
    many("noderesource-plugins", _PLUGINS, "what is calculated for nodes: names, -Name, *"),
    number("rest-config-qps", 30.0, "requests a second to the API server"),
    whole("rest-config-burst", 50, "requests at once above that"),
    text("slo-config-name", "slo-controller-config", "name of the ConfigMap with the strategies"),
    text("config-namespace", "koordinator-system", "its namespace"),
    switch("node-strategy-name-need-check", "entries of nodeConfigs must have unique names"),
    text("feature-gates", "", "A=true,B=false"),
    switch("disable-no-deepcopy", "accepted for compatibility"),
    switch("colocation-profile-reconcile-by-default", "profiles without the controller-managed label are applied to pods, too"),
    duration("colocation-profile-reconcile-interval", 30.0, "pause between two looks at a profile's pods"),
    duration("colocation-profile-force-update-pod-duration", 300.0, "when a pod may be updated for the same profile again"),
    duration("colocation-profile-expire-pod-cache-duration", 600.0, "how often what is known of pods is cleared out"),
    number("colocation-profile-update-pod-qps", 10.0, "pods updated a second"),
    whole("colocation-profile-update-pod-qps-burst", 100, "pods updated at once above that"),
    text("pod-enhanced-validator-config-namespace", "koordinator-system", "namespace of the enhanced validator's ConfigMap"),
    text("pod-enhanced-validator-config-name", "pod-enhanced-validator-config", "name of the enhanced validator's ConfigMap"),
    duration("pod-enhanced-validator-reconcile-interval", 300.0, "accepted for compatibility: the ConfigMap is watched"),
    many("binding-admission-user-name", "", "who may bind pods: parts of user names"),
    switch("binding-admission-dry-run", "count bindings that would be refused, refuse none"),
    many("binding-admission-namespaces", "", "where bindings are guarded; * for everywhere"),
    many("binding-admission-exclude-namespaces", "kube-system", "where they are not"),
    many("binding-admission-bypass-labels", _BYPASS, "pods with such a label are not guarded"),
    many("binding-admission-bypass-annotations", "", "pods with such an annotation are not guarded"),
    whole("quota-update-max-retries", 3, "tries to write a quota's account"),
    duration("quota-update-retry-jitter", 0.0, "pause between two tries"),
    duration("quota-update-max-total-jitter", 1.0, "all pauses of one batch together"),
    switch("quota-update-conflict-fresh-get", "read the quota afresh after a conflict"),
    *goflags.LOG_FLAGS,
)

_HELP = """Run koord-manager in this process until SIGTERM. It takes the Go manager's flags; `koord manager --help` lists them.

The environment variables WEBHOOK_PORT, WEBHOOK_HOST, WEBHOOK_CERT_DIR, WEBHOOK_CERT_WRITER (secret, fs or cert-manager),
POD_NAMESPACE, SECRET_NAME, SERVICE_NAME, MUTATING_WEBHOOK_NAME and VALIDATING_WEBHOOK_NAME say how the webhooks are served.
"""


def main() -> None:
    """The console script."""
    COMPONENT.script()


def _serve(arguments: Sequence[str]) -> None:
    from koordinator.cli.running import run_component
    from koordinator.clock import SystemClock
    from koordinator.manager import app

    flags = goflags.parse(FLAGS, arguments)
    options = options_of(flags, os.environ)
    run_component(lambda: app.run(options, SystemClock()), flags["v"])


COMPONENT = Component("manager", _HELP, FLAGS, _serve, script_misuse=2)


def options_of(flags: Mapping[str, Any], environment: Mapping[str, str]) -> "ManagerOptions":
    """Raises Misuse, or ConfigInvalid for a wrong gate."""
    from koordinator.api import features
    from koordinator.manager.options import ManagerOptions

    features.MANAGER.parse(flags["feature-gates"])
    if flags["leader-elect-resource-lock"] != "leases":
        raise Misuse(f"--leader-elect-resource-lock is {flags['leader-elect-resource-lock']!r}, only leases is supported")
    return ManagerOptions(
        kubeconfig=flags["kubeconfig"] or None,
        master=flags["master"] or None,
        qps=flags["rest-config-qps"],
        burst=flags["rest-config-burst"],
        namespace=flags["namespace"],
        webhook=_webhook(environment),
        leader_elect=flags["enable-leader-election"],
        leader_election_namespace=flags["leader-election-namespace"],
        config_namespace=flags["config-namespace"],
        config_name=flags["slo-config-name"],
        node_strategy_name_need_check=flags["node-strategy-name-need-check"],
        rules_namespace=flags["pod-enhanced-validator-config-namespace"],
        rules_name=flags["pod-enhanced-validator-config-name"],
        feature_gates=flags["feature-gates"],
        controllers=_known("controllers", flags),
        noderesource_plugins=_known("noderesource-plugins", flags),
        profiles=_profiles(flags),
        bindings=_bindings(flags),
        quota_retries=_quota_retries(flags),
        metrics=_address("metrics-addr", flags),
        probes=_address("health-probe-addr", flags),
        pprof=_address("pprof-addr", flags) if flags["enable-pprof"] else None,
    )


def _profiles(flags: Mapping[str, Any]) -> "ProfileSettings":
    from koordinator.manager.controllers.colocationprofile import ProfileSettings

    return ProfileSettings(
        by_default=flags["colocation-profile-reconcile-by-default"],
        interval=flags["colocation-profile-reconcile-interval"],
        again_after=flags["colocation-profile-force-update-pod-duration"],
        forget_every=flags["colocation-profile-expire-pod-cache-duration"],
        qps=flags["colocation-profile-update-pod-qps"],
        burst=flags["colocation-profile-update-pod-qps-burst"],
    )


def _bindings(flags: Mapping[str, Any]) -> "BindingRules":
    from koordinator.manager.webhooks.bindings import BindingRules

    return BindingRules(
        users=flags["binding-admission-user-name"],
        dry_run=flags["binding-admission-dry-run"],
        namespaces=flags["binding-admission-namespaces"],
        excluded=flags["binding-admission-exclude-namespaces"],
        bypass_labels=flags["binding-admission-bypass-labels"],
        bypass_annotations=flags["binding-admission-bypass-annotations"],
    )


def _quota_retries(flags: Mapping[str, Any]) -> "Retries":
    from koordinator.manager.webhooks.quotas.admission import Retries

    return Retries(
        most=flags["quota-update-max-retries"],
        jitter=flags["quota-update-retry-jitter"],
        most_jitter=flags["quota-update-max-total-jitter"],
        fresh_get=flags["quota-update-conflict-fresh-get"],
    )


def _known(name: str, flags: Mapping[str, Any]) -> tuple[str, ...]:
    """The names given, all of them names of something."""
    from koordinator.manager.options import CONTROLLERS

    known = CONTROLLERS if name == "controllers" else tuple(_PLUGINS.split(","))
    given: tuple[str, ...] = flags[name]
    for one in given:
        if one != "*" and one.removeprefix("-") not in known:
            raise Misuse(f"--{name}: {one!r} is not one of {', '.join(known)}")
    return given


def _address(name: str, flags: Mapping[str, Any]) -> "Address | None":
    """``host:port`` or ``:port``; ``0`` and the empty text are nowhere."""
    from koordinator.manager.options import Address

    given = flags[name]
    if given in ("", "0"):
        return None
    host, colon, port = given.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise Misuse(f"--{name} is {given!r}, must be host:port or :port")
    return Address(host.strip("[]"), int(port))


def _webhook(environment: Mapping[str, str]) -> "WebhookOptions":
    from koordinator.manager.options import WebhookOptions
    from koordinator.manager.webhooks.service import CertWriter, Names

    def given(name: str, default: str) -> str:
        return environment.get(name) or default

    port, host = given("WEBHOOK_PORT", "9876"), environment.get("WEBHOOK_HOST", "")
    if not port.isdecimal() or int(port) > 65535:
        raise Misuse(f"WEBHOOK_PORT is {port!r}, must be a port")
    writer = given("WEBHOOK_CERT_WRITER", CertWriter.FS if host else CertWriter.SECRET)
    if writer not in list(CertWriter):
        raise Misuse(f"WEBHOOK_CERT_WRITER is {writer!r}, must be {', '.join(CertWriter)} or empty")
    return WebhookOptions(
        host=host,
        address="0.0.0.0",
        port=int(port),
        service=given("SERVICE_NAME", "koordinator-webhook-service"),
        names=Names(
            namespace=given("POD_NAMESPACE", "koordinator-system"),
            secret=given("SECRET_NAME", "koordinator-webhook-certs"),
            mutating=given("MUTATING_WEBHOOK_NAME", "koordinator-mutating-webhook-configuration"),
            validating=given("VALIDATING_WEBHOOK_NAME", "koordinator-validating-webhook-configuration"),
        ),
        cert_writer=CertWriter(writer),
        cert_dir=given("WEBHOOK_CERT_DIR", "/tmp/koordinator-webhook-certs"),  # noqa: S108 — the protocol's default
    )
