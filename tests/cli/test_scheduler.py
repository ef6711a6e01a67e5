"""`koord scheduler`: the Go scheduler's flags, one clear sentence for each wrong one, and who wins over whom."""

from pathlib import Path

import pytest

from koordinator.cli import goflags
from koordinator.cli.goflags import Misuse
from koordinator.cli.scheduler import main, options_of
from koordinator.cli.scheduler_flags import COMPATIBLE, FLAGS
from koordinator.errors import ConfigInvalid

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"


def options(*arguments):
    return options_of(arguments)[1]


def test_the_defaults_are_the_go_schedulers():
    found = options()
    assert (found.http_address, found.http_port, found.secure.port) == ("0.0.0.0", 10251, 10259)
    assert (found.election.namespace, found.election.name, found.leader_elect) == ("kube-system", "kube-scheduler", True)
    assert (found.qps, found.burst, found.max_unschedulable) == (50.0, 100, 300.0)


def test_our_deployments_arguments_are_understood():
    given = (
        "--port=10251",
        "--authentication-skip-lookup=true",
        "--v=4",
        "--feature-gates=",
        "-s",
        "3",
        "-f",
        "--secure-port",
        "0",
    )
    found = options(*given)
    assert (found.debug.top_scores, found.debug.filters, found.debug.verbosity, found.secure) == (3, True, 4, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "\"koord-scheduler\" does not take any arguments, got ['run']"),
        (["-s", "3", "run", "fast"], "\"koord-scheduler\" does not take any arguments, got ['run', 'fast']"),
        (["--prt=1"], "unknown flag: --prt; did you mean --port?"),
        (["--address", "here"], "--address here is an invalid IP address"),
        (["--port=70000"], "--port 70000 must be between 0 and 65535, inclusive. 0 for turning off insecure (HTTP) port"),
        (["--leader-elect-resource-lock=endpoints"], "only leases is supported"),
        (["--leader-elect-lease-duration=soon"], 'invalid argument "soon" for "--leader-elect-lease-duration" flag'),
    ],
)
def test_a_wrong_flag_is_one_clear_sentence(arguments, message):
    with pytest.raises(Misuse) as caught:
        options(*arguments)
    assert message in str(caught.value)


def test_an_unknown_gate_fails():
    with pytest.raises(ConfigInvalid, match="unrecognized feature gate: Fast"):
        options("--feature-gates=Fast=true")


def test_the_file_decides_what_the_command_line_does_not(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(
        HEAD + "leaderElection: {leaderElect: true, resourceName: from-file}\nclientConnection: {qps: 7, burst: 8}\n"
    )
    found = options(f"--config={file}")
    assert (found.election.name, found.qps, found.burst) == ("from-file", 7, 8)
    found = options(f"--config={file}", "--leader-elect=false", "--kube-api-qps=99", "--leader-elect-resource-name=flag")
    assert (found.leader_elect, found.qps, found.election.name) == (False, 99, "flag")


def test_a_flag_about_the_election_leaves_the_rest_of_it_to_the_file(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(HEAD + "leaderElection: {leaseDuration: 30s, resourceName: from-file, resourceNamespace: there}\n")
    election = options(f"--config={file}", "--leader-elect-renew-deadline=20s").election
    assert (election.name, election.namespace) == ("from-file", "there")
    assert (election.times.lease_duration, election.times.renew_deadline) == (30, 20)


def test_the_rest_of_the_flags_reach_the_options(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(HEAD + "delayCacheUntilActive: true\nenableProfiling: false\n")
    found = options(
        f"--config={file}",
        "--sync-barrier-pod-name=b",
        "--sync-barrier-pod-namespace=n",
        "--sync-hard-timeout=5s",
        "--controller-plugins=-Coscheduling,*",
        "--tls-min-version=VersionTLS13",
        "--client-ca-file=ca.crt",
        "--authorization-always-allow-paths=/healthz,/metrics",
        "--authentication-token-webhook-cache-ttl=1m",
        "--requestheader-allowed-names=front",
    )
    assert (found.barrier.key, found.barrier.timeout, found.controller_plugins) == ("n/b", 5, ("-Coscheduling", "*"))
    assert (found.delay_cache, found.profiling, found.secure.min_version) == (True, False, "VersionTLS13")
    access = found.secure.access
    assert (access.client_ca_file, access.open_paths, access.lifetimes.token) == ("ca.crt", ("/healthz", "/metrics"), 60)
    assert (access.headers.allowed, access.headers.name) == (("front",), ("x-remote-user",))


def test_the_reference_names_every_flag_and_says_which_do_nothing():
    text = (Path(__file__).parents[2] / "docs/reference/scheduler.md").read_text()
    flags = FLAGS[: -len(goflags.LOG_FLAGS)]
    assert [flag.name for flag in flags if f"`--{flag.name}`" not in text] == []
    idle = text[text.index("## Flags without effect") :]
    assert [flag.name for flag in flags if flag.about.startswith(COMPATIBLE) and f"`--{flag.name}`" not in idle] == []


def test_a_broken_file_is_its_path_and_reason_and_exit_1(tmp_path, monkeypatch, capsys):
    file = tmp_path / "config.yaml"
    file.write_text(HEAD + "profiles: [{pluginConfig: [{name: SchedulingHint, args: {maxHintNodes: 0}}]}]\n")
    monkeypatch.setattr("sys.argv", ["koord-scheduler", "--config", str(file)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == (
        "koord-scheduler: profiles[0].pluginConfig[0].args.maxHintNodes is 0, must be above 0; the scheduler does not start\n"
    )


def test_version_and_help_answer_and_end(monkeypatch, capsys):
    for flag, text in (("--version", "Kubernetes koord-scheduler 0."), ("--help", "--pod-max-in-unschedulable-pods-duration")):
        monkeypatch.setattr("sys.argv", ["koord-scheduler", flag])
        main()
        assert text in capsys.readouterr().out
