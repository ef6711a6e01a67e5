"""`koord scheduler` and the console script `koord-scheduler`: the scheduler as its own process, with the Go flags."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from koordinator.cli import goflags
from koordinator.cli.component import Component
from koordinator.cli.goflags import Flag, Misuse, duration, many, number, switch, text, whole

if TYPE_CHECKING:
    from koordinator.scheduler.auditor.options import AuditorOptions
    from koordinator.scheduler.options import SchedulerOptions

_COMPATIBLE = "accepted for compatibility"
_TLS = ("tls-cipher-suites", "tls-min-version", "tls-sni-cert-key", "client-ca-file", "requestheader-client-ca-file")
_HEADERS = ("allowed-names", "extra-headers-prefix", "group-headers", "username-headers", "uid-headers")
_AUTH = (
    text("authentication-kubeconfig", "", _COMPATIBLE),
    text("authentication-token-webhook-cache-ttl", "", _COMPATIBLE),
    switch("authentication-skip-lookup", _COMPATIBLE),
    switch("authentication-tolerate-lookup-failure", _COMPATIBLE, default=True),
    text("authorization-kubeconfig", "", _COMPATIBLE),
    text("authorization-webhook-cache-authorized-ttl", "", _COMPATIBLE),
    text("authorization-webhook-cache-unauthorized-ttl", "", _COMPATIBLE),
    many("authorization-always-allow-paths", "/healthz,/readyz,/livez", _COMPATIBLE),
    *(text(name, "", _COMPATIBLE) for name in _TLS),
    *(text(f"requestheader-{name}", "", _COMPATIBLE) for name in _HEADERS),
)

FLAGS: tuple[Flag, ...] = (
    text("config", "", "KubeSchedulerConfiguration file; without one the shipped profile runs"),
    text("write-config-to", "", "write the configuration, defaults filled in, to this file and end"),
    text("kubeconfig", "", "kubeconfig of the cluster; else $KUBECONFIG, else the pod's service account, else ~/.kube/config"),
    text("master", "", "address of the API server, instead of the kubeconfig's"),
    number("kube-api-qps", 50.0, "requests a second to the API server; 0 for no limit"),
    whole("kube-api-burst", 100, "requests at once above that"),
    text("kube-api-content-type", "application/vnd.kubernetes.protobuf", "accepted for compatibility: we speak JSON"),
    duration("pod-max-in-unschedulable-pods-duration", 300.0, "after so long a refused pod is tried again in any case"),
    switch("leader-elect", "schedule only while holding the Lease", default=True),
    duration("leader-elect-lease-duration", 15.0, "how long others wait for a silent leader"),
    duration("leader-elect-renew-deadline", 10.0, "how long a leader tries to renew before it stops"),
    duration("leader-elect-retry-period", 2.0, "pause between attempts"),
    text("leader-elect-resource-lock", "leases", "kind of lock; only leases"),
    text("leader-elect-resource-name", "kube-scheduler", "name of the Lease"),
    text("leader-elect-resource-namespace", "kube-system", "its namespace"),
    text("address", "0.0.0.0", "where HTTP is served"),
    whole("port", 10251, "port of HTTP; 0 for nowhere"),
    text("bind-address", "0.0.0.0", "where HTTPS is served"),
    whole("secure-port", 10259, "port of HTTPS; 0 for nowhere"),
    text("cert-dir", "", "where a certificate that we sign ourselves is kept; empty for memory"),
    text("tls-cert-file", "", "certificate of HTTPS"),
    text("tls-private-key-file", "", "its key"),
    text("feature-gates", "", "A=true,B=false"),
    switch("profiling", _COMPATIBLE, default=True),
    switch("contention-profiling", _COMPATIBLE, default=True),
    switch("permit-port-sharing", _COMPATIBLE),
    switch("permit-address-sharing", _COMPATIBLE),
    whole("http2-max-streams-per-connection", 0, _COMPATIBLE),
    *_AUTH,
    text("sync-barrier-pod-namespace", "kube-system", "namespace of the barrier pod (gate SyncBarrier)"),
    text("sync-barrier-pod-name", "koord-scheduler-sync-barrier", "its name; empty for no barrier"),
    duration("sync-hard-timeout", 60.0, "how long the barrier may hold up a new leader"),
    whole("debug-scores", 0, "log the scores of so many nodes for every pod (-s)"),
    whole("s", 0, "--debug-scores"),
    switch("debug-filters", "log every refusal of every node (-f)"),
    switch("f", "--debug-filters"),
    switch("debug-diagnosis", "log why pods were refused as JSON (-d)"),
    switch("d", "--debug-diagnosis"),
    switch("debug-diagnosis-blocking", "before the next pod is looked at"),
    whole("debug-diagnosis-queue-size", 1000, _COMPATIBLE),
    whole("debug-diagnosis-worker-count", 10, _COMPATIBLE),
    many("controller-plugins", "*", "plugins whose controllers run: Name, -Name, *"),
    switch("enable-network-topology-manager", "keep the tree of the network topology"),
    switch("enable-workload-auditor", "measure how often pods are preempted and tried again"),
    text("workload-auditor-metric-labels", "", "metricLabel=podLabelKey,..."),
    duration("workload-auditor-victim-reschedule-duration", 10.0, "alert threshold"),
    duration("workload-auditor-victim-deletion-duration", 30.0, "alert threshold"),
    whole("workload-auditor-victim-deleting-retries", 3, "alert threshold"),
    duration("workload-auditor-scheduling-event-interval", 300.0, "alert threshold"),
    duration("scheduler-monitor-period", 10.0, "how often slow attempts are looked for"),
    duration("scheduling-timeout", 30.0, "from when on an attempt is slow"),
    duration("scheduling-drop-unhandled-timeout", 5.0, "when a popped pod that nobody looked at is forgotten"),
    switch("async-log", _COMPATIBLE),
    whole("async-log-queue-length", 10000, _COMPATIBLE),
    text("show-hidden-metrics-for-version", "", _COMPATIBLE),
    many("disabled-metrics", "", _COMPATIBLE),
    text("allow-metric-labels", "", _COMPATIBLE),
    text("allow-metric-labels-manifest", "", _COMPATIBLE),
    text("log-json-info-buffer-size", "", _COMPATIBLE),
    switch("log-json-split-stream", _COMPATIBLE),
    text("emulated-version", "", _COMPATIBLE),
    text("version", "false", "print the version: --version, --version=raw"),
    *goflags.LOG_FLAGS,
)

_HELP = """Run koord-scheduler in this process until SIGTERM.

It takes the Go scheduler's flags; `koord scheduler --help` lists them.
"""


def main() -> None:
    """The console script."""
    COMPONENT.script()


def _serve(arguments: Sequence[str]) -> None:
    if {"--version", "-version", "--version=true", "--version=raw"} & set(arguments):
        from koordinator import __version__

        sys.stdout.write(f"Kubernetes koord-scheduler {__version__}\n")
        return
    from koordinator.cli.running import run_component
    from koordinator.clock import SystemClock
    from koordinator.scheduler import app

    flags, options = options_of(arguments)
    if flags["write-config-to"]:
        from koordinator.scheduler.config.write import write

        write(options, flags["write-config-to"])
        return
    run_component(lambda: app.run(options, SystemClock()), flags["v"])


COMPONENT = Component("scheduler", _HELP, FLAGS, _serve, script_misuse=1)


def options_of(arguments: Sequence[str]) -> "tuple[dict[str, Any], SchedulerOptions]":
    """The flags by name, and what follows from them and the configuration file. Raises: Misuse, ConfigInvalid, Unavailable."""
    from koordinator.scheduler.catalogue import with_entry_points
    from koordinator.scheduler.config.read import read_file
    from koordinator.scheduler.options import with_configuration

    flags = _parsed(arguments)
    options = _options(flags)
    if not options.config:
        return flags, options
    reading = read_file(options.config, with_entry_points())
    return flags, with_configuration(options, reading.configuration, frozenset(_given(arguments)))


def _parsed(arguments: Sequence[str]) -> dict[str, Any]:
    positional = [one for one in arguments if not one.startswith("-")]
    try:
        flags = goflags.parse(FLAGS, arguments)
    except Misuse as err:
        if "is not a flag" in str(err):
            raise Misuse(f'"koord-scheduler" does not take any arguments, got {positional}') from None
        raise
    for short, long in (("s", "debug-scores"), ("f", "debug-filters"), ("d", "debug-diagnosis")):
        flags[long] = flags[long] or flags[short]
    _check(flags)
    return flags


def _check(flags: Mapping[str, Any]) -> None:
    import ipaddress

    from koordinator.api import features

    for name in ("address", "bind-address"):
        try:
            ipaddress.ip_address(flags[name])
        except ValueError:
            raise Misuse(f"--{name} {flags[name]} is an invalid IP address") from None
    if not 0 <= flags["port"] <= 65535:
        rule = "must be between 0 and 65535, inclusive. 0 for turning off insecure (HTTP) port"
        raise Misuse(f"--port {flags['port']} {rule}")
    if not 0 <= flags["secure-port"] <= 65535:
        raise Misuse(f"--secure-port {flags['secure-port']} must be between 0 and 65535, inclusive. 0 for turning off HTTPS")
    if flags["leader-elect-resource-lock"] != "leases":
        raise Misuse(f"--leader-elect-resource-lock is {flags['leader-elect-resource-lock']!r}, only leases is supported")
    features.SCHEDULER.parse(flags["feature-gates"])


_OPTION_OF = {
    "kubeconfig": "kubeconfig",
    "kube-api-qps": "qps",
    "kube-api-burst": "burst",
    "leader-elect": "leader_elect",
    **dict.fromkeys(
        [
            f"leader-elect-{name}"
            for name in ("lease-duration", "renew-deadline", "retry-period", "resource-name", "resource-namespace")
        ],
        "election",
    ),
}


def _given(arguments: Sequence[str]) -> set[str]:
    """The options that stand on the command line, and not just in its defaults."""
    unset = object()
    bare = goflags.parse([msgspec.structs.replace(flag, default=unset) for flag in FLAGS], arguments)
    return {option for name, option in _OPTION_OF.items() if bare[name] is not unset}


def _options(flags: Mapping[str, Any]) -> "SchedulerOptions":
    from koordinator.api import features
    from koordinator.kube.leader import LeaseTimes
    from koordinator.scheduler.options import DebugOptions, Election, SchedulerOptions, Secure

    times = LeaseTimes(
        lease_duration=flags["leader-elect-lease-duration"],
        renew_deadline=flags["leader-elect-renew-deadline"],
        retry_period=flags["leader-elect-retry-period"],
    )
    secure = Secure(
        address=flags["bind-address"],
        port=flags["secure-port"],
        cert_file=flags["tls-cert-file"],
        key_file=flags["tls-private-key-file"],
        cert_dir=flags["cert-dir"],
    )
    return SchedulerOptions(
        kubeconfig=flags["kubeconfig"] or None,
        master=flags["master"] or None,
        qps=flags["kube-api-qps"],
        burst=flags["kube-api-burst"],
        config=flags["config"],
        leader_elect=flags["leader-elect"],
        election=Election(
            namespace=flags["leader-elect-resource-namespace"], name=flags["leader-elect-resource-name"], times=times
        ),
        http_address=flags["address"],
        http_port=flags["port"] or None,
        secure=secure if flags["secure-port"] else None,
        gates=features.SCHEDULER.parse(flags["feature-gates"]),
        max_unschedulable=flags["pod-max-in-unschedulable-pods-duration"],
        entry_points=True,
        debug=DebugOptions(
            top_scores=flags["debug-scores"],
            filters=flags["debug-filters"],
            diagnosis=flags["debug-diagnosis"],
            diagnosis_blocking=flags["debug-diagnosis-blocking"],
            verbosity=flags["v"],
        ),
        monitor_period=flags["scheduler-monitor-period"],
        scheduling_timeout=flags["scheduling-timeout"],
        drop_unhandled=flags["scheduling-drop-unhandled-timeout"],
        network_topology=flags["enable-network-topology-manager"],
        auditor=_auditor(flags) if flags["enable-workload-auditor"] else None,
    )


def _auditor(flags: Mapping[str, Any]) -> "AuditorOptions":
    from koordinator.scheduler.auditor.options import AuditorOptions, parse_labels
    from koordinator.scheduler.auditor.story import Thresholds

    thresholds = Thresholds(
        victim_reschedule=flags["workload-auditor-victim-reschedule-duration"],
        victim_deletion=flags["workload-auditor-victim-deletion-duration"],
        victim_deleting_retries=flags["workload-auditor-victim-deleting-retries"],
        event_interval=flags["workload-auditor-scheduling-event-interval"],
    )
    return AuditorOptions(thresholds=thresholds, labels=parse_labels(flags["workload-auditor-metric-labels"]))
