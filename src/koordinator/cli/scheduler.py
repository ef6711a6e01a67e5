"""`koord scheduler` and the console script `koord-scheduler`: the scheduler as its own process, with the Go flags."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from koordinator.cli import goflags
from koordinator.cli.component import Component
from koordinator.cli.goflags import Misuse
from koordinator.cli.scheduler_flags import FLAGS

if TYPE_CHECKING:
    from koordinator.scheduler.auditor.options import AuditorOptions
    from koordinator.scheduler.options import Access, SchedulerOptions, Secure

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
    positional: list[str] = []
    flags = goflags.parse(FLAGS, arguments, positional)
    if any(positional):
        raise Misuse(f'"koord-scheduler" does not take any arguments, got {positional}')
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
    "profiling": "profiling",
    "leader-elect": "leader_elect",
    "leader-elect-resource-name": "election.name",
    "leader-elect-resource-namespace": "election.namespace",
    "leader-elect-lease-duration": "election.lease_duration",
    "leader-elect-renew-deadline": "election.renew_deadline",
    "leader-elect-retry-period": "election.retry_period",
}
"""Flags that the configuration file has fields for, too."""


def _given(arguments: Sequence[str]) -> set[str]:
    """The options that stand on the command line, and not just in its defaults."""
    unset = object()
    bare = goflags.parse([msgspec.structs.replace(flag, default=unset) for flag in FLAGS], arguments)
    return {option for name, option in _OPTION_OF.items() if bare[name] is not unset}


def _options(flags: Mapping[str, Any]) -> "SchedulerOptions":
    from koordinator.api import features
    from koordinator.kube.leader import LeaseTimes
    from koordinator.scheduler.options import BarrierPod, DebugOptions, Election, SchedulerOptions

    times = LeaseTimes(
        lease_duration=flags["leader-elect-lease-duration"],
        renew_deadline=flags["leader-elect-renew-deadline"],
        retry_period=flags["leader-elect-retry-period"],
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
        barrier=BarrierPod(
            namespace=flags["sync-barrier-pod-namespace"],
            name=flags["sync-barrier-pod-name"],
            timeout=flags["sync-hard-timeout"],
        ),
        controller_plugins=flags["controller-plugins"],
        http_address=flags["address"],
        http_port=flags["port"] or None,
        secure=_secure(flags) if flags["secure-port"] else None,
        profiling=flags["profiling"],
        gates=features.SCHEDULER.parse(flags["feature-gates"]),
        max_unschedulable=flags["pod-max-in-unschedulable-pods-duration"],
        entry_points=True,
        debug=DebugOptions(
            top_scores=flags["debug-scores"],
            filters=flags["debug-filters"],
            diagnosis=flags["debug-diagnosis"],
            diagnosis_blocking=flags["debug-diagnosis-blocking"],
            diagnosis_queue=flags["debug-diagnosis-queue-size"],
            verbosity=flags["v"],
        ),
        monitor_period=flags["scheduler-monitor-period"],
        scheduling_timeout=flags["scheduling-timeout"],
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


def _secure(flags: Mapping[str, Any]) -> "Secure":
    from koordinator.scheduler.options import Secure

    return Secure(
        address=flags["bind-address"],
        port=flags["secure-port"],
        cert_file=flags["tls-cert-file"],
        key_file=flags["tls-private-key-file"],
        cert_dir=flags["cert-dir"],
        min_version=flags["tls-min-version"],
        cipher_suites=flags["tls-cipher-suites"],
        reuse_port=flags["permit-port-sharing"],
        access=_access(flags),
    )


def _access(flags: Mapping[str, Any]) -> "Access":
    from koordinator.kube.reviews import Lifetimes
    from koordinator.scheduler.options import Access, Headers

    return Access(
        kubeconfig=flags["authentication-kubeconfig"],
        authorization_kubeconfig=flags["authorization-kubeconfig"],
        client_ca_file=flags["client-ca-file"],
        proxy_ca_file=flags["requestheader-client-ca-file"],
        headers=Headers(
            allowed=flags["requestheader-allowed-names"],
            name=flags["requestheader-username-headers"],
            group=flags["requestheader-group-headers"],
            uid=flags["requestheader-uid-headers"],
            extra=flags["requestheader-extra-headers-prefix"],
        ),
        skip_lookup=flags["authentication-skip-lookup"],
        tolerate_lookup_failure=flags["authentication-tolerate-lookup-failure"],
        open_paths=flags["authorization-always-allow-paths"],
        lifetimes=Lifetimes(
            token=flags["authentication-token-webhook-cache-ttl"],
            allowed=flags["authorization-webhook-cache-authorized-ttl"],
            denied=flags["authorization-webhook-cache-unauthorized-ttl"],
        ),
    )
