"""Pods as real processes; plain directories stand in for cgroups."""

import asyncio
import contextlib
import os
import signal
import sys
import time

import msgspec
import pytest

from koordinator.clock import ManualClock
from koordinator.cluster.nodes.process.runtime import Runtime, start_ticks
from koordinator.cluster.nodes.process.worker import PodWorker
from waiting import until


def sh(script: str, **more) -> dict:
    return {"command": ["/bin/sh", "-c", script], **more}


@contextlib.asynccontextmanager
async def running(worker: PodWorker):
    task = asyncio.create_task(worker.run())
    try:
        yield task
    finally:
        if not task.done():
            worker.vanish()
            for record in worker.board.all:
                if record.running:
                    worker.tools.runtime.terminate(record.attempt, signal.SIGKILL)
        await asyncio.wait_for(task, 10)


def log_text(worker: PodWorker, index: int = 0, *, previous: bool = False) -> str:
    record = worker.board.main[index]
    attempt = record.previous if previous else record.attempt
    return "".join(line.split(" ", 3)[3] for line in attempt.log.read_text().splitlines(keepends=True))


def condition(status: dict, kind: str) -> str:
    return next(one["status"] for one in status["conditions"] if one["type"] == kind)


async def test_a_job_runs_and_ends(pod, worker, reports):
    one = worker(pod(sh("echo hello; exit 0"), restartPolicy="Never"))
    async with running(one):
        await until(lambda: reports.last.get("phase") == "Succeeded")
        assert log_text(one) == "hello\n"
        state = reports.state()["terminated"]
        assert (state["exitCode"], state["reason"]) == (0, "Completed")
        assert condition(reports.last, "Ready") == "False"
        assert not (one.tools.cgroups.root / one.cgroup).exists()


async def test_a_service_is_ready_while_it_runs(pod, worker, reports):
    async with running(worker(pod(sh("exec sleep 100")))):
        await until(lambda: reports.last.get("phase") == "Running")
        assert [condition(reports.last, kind) for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")] == [
            "True"
        ] * 4
        container = reports.container()
        assert container["ready"]
        assert container["started"]
        assert len(container["containerID"]) == len("containerd://") + 64
        assert reports.last["podIP"] == reports.last["hostIP"] == "127.0.0.1"
        assert reports.last["qosClass"] == "BestEffort"


async def test_exit_codes_and_signals_are_told(pod, worker, reports):
    async with running(worker(pod(sh("exit 3"), sh("kill -9 $$$$"), restartPolicy="Never"))):
        await until(lambda: reports.last.get("phase") == "Failed")
        first, second = (reports.state(index)["terminated"] for index in (0, 1))
        assert (first["exitCode"], first["reason"]) == (3, "Error")
        assert (second["exitCode"], second["signal"]) == (137, 9)


async def test_environment_directory_and_arguments(pod, worker, shelf, tools, reports):
    container = {
        "command": ["/bin/sh", "-c", 'echo "$0 $1 $(pwd) $A $B $C $NODE $HOSTNAME $(env | wc -l)"'],
        "args": ["zero", "$(A)-$(NOPE)-$$(A)"],
        "workingDir": "/usr",
        "env": [
            {"name": "A", "value": "a"},
            {"name": "B", "value": "$(A)b"},
            {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "c"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
    }
    use = msgspec.structs.replace(tools, lookups=shelf(conf={"c": "cc"}))
    one = worker(pod(container, restartPolicy="Never"), use)
    async with running(one):
        await until(lambda: reports.last.get("phase") == "Succeeded")
        words = log_text(one).split()
        assert words[:-1] == ["zero", "a-$(NOPE)-$(A)", "/usr", "a", "ab", "cc", "n1", "web"]
        assert int(words[-1]) <= 10  # nothing of the agent's own environment


async def test_a_command_that_is_not_there_is_a_state_and_not_a_crash(pod, worker, reports):
    async with running(worker(pod({"command": ["no-such-program"]}, sh("exec sleep 100")))):
        await until(lambda: reports.state().get("waiting", {}).get("reason") == "CrashLoopBackOff")
        last = reports.container()["lastState"]["terminated"]
        assert (last["exitCode"], last["reason"]) == (128, "StartError")
        assert "exec 'no-such-program': executable file not found in $PATH" in last["message"]
        assert "running" in reports.state(1)


async def test_a_bad_working_directory_is_named(pod, worker, reports):
    async with running(worker(pod(sh("true", workingDir="/no/where"), restartPolicy="Never"))):
        await until(lambda: reports.last.get("phase") == "Failed")
        assert "working directory /no/where: No such file" in reports.state()["terminated"]["message"]


async def test_an_image_without_a_command_says_what_to_do(pod, worker, reports):
    async with running(worker(pod({"image": "nginx"}))):
        await until(lambda: reports.state().get("waiting"))
        waiting = reports.state()["waiting"]
        assert waiting["reason"] == "CreateContainerError"
        assert "process nodes run commands, pod default/web container c0 has none" in waiting["message"]
        assert reports.last["phase"] == "Pending"


async def test_a_missing_config_map_is_waited_for(pod, worker, tools, shelf, reports):
    shelves = shelf()
    clock = ManualClock(time.time())
    use = msgspec.structs.replace(
        tools, lookups=shelves, clock=clock, runtime=Runtime(tools.runtime.state, tools.cgroups, clock)
    )
    container = sh("echo $A", env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "a"}}}])
    one = worker(pod(container, restartPolicy="Never"), use)
    async with running(one):
        await until(lambda: reports.state().get("waiting", {}).get("reason") == "CreateContainerConfigError")
        shelves.maps["conf"] = {"a": "there"}
        clock.advance(10)
        await until(lambda: reports.last.get("phase") == "Succeeded")
        assert log_text(one) == "there\n"


async def test_crash_loop(pod, worker, tools, reports):
    clock = ManualClock(time.time())
    use = msgspec.structs.replace(tools, clock=clock, runtime=Runtime(tools.runtime.state, tools.cgroups, clock))
    one = worker(pod(sh("echo run; exit 1")), use)
    async with running(one):
        for restarts, wait in ((1, 10), (2, 20), (3, 40)):
            await until(lambda n=restarts: (c := reports.container()).get("restartCount") == n and "waiting" in c["state"])
            waiting = reports.state()["waiting"]
            assert waiting["message"] == f"back-off {wait}s restarting failed container=c0 pod=web_default(uid-web)"
            assert reports.last["phase"] == "Running"
            assert condition(reports.last, "Ready") == "False"
            # The exit's time is the shim's, on the machine's clock: jump to when the wait is over for sure.
            clock.advance(one.board.main[0].due() - clock.now())
        assert ("BackOff", "Back-off restarting failed container c0 in pod web") in reports.events
        assert log_text(one, previous=True) == "run\n"


async def test_init_containers_run_first_and_in_order(pod, worker, tools, reports, tmp_path):
    steps = [{"name": f"i{n}", **sh(f"echo {n} >> {tmp_path}/out")} for n in range(2)]
    async with running(worker(pod(sh(f"cat {tmp_path}/out"), initContainers=steps, restartPolicy="Never"))) as _:
        await until(lambda: reports.last.get("phase") == "Succeeded")
        assert (tmp_path / "out").read_text() == "0\n1\n"
        assert [one["state"]["terminated"]["exitCode"] for one in reports.last["initContainerStatuses"]] == [0, 0]


async def test_deletion_stops_politely_and_then_removes_the_pod(pod, worker, reports):
    raw = pod(sh("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"))
    one = worker(raw)
    async with running(one) as task:
        await until(lambda: reports.last.get("phase") == "Running" and "up" in log_text(one))
        gone = pod(sh(""), meta={"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30})
        one.update(gone)
        await asyncio.wait_for(task, 5)
        assert reports.removed == ["default/web"]
        assert reports.state()["terminated"]["exitCode"] == 0
        assert not one.tools.runtime.pod_directory("uid-web").exists()


async def test_whoever_ignores_sigterm_is_killed_with_all_its_children(pod, worker, reports, tmp_path):
    raw = pod(sh(f"trap '' TERM; sleep 1000 & echo $! > {tmp_path}/child; while :; do sleep 0.05; done"))
    one = worker(raw)
    async with running(one) as task:
        await until(lambda: one.board.main[0].running and (tmp_path / "child").exists() and (tmp_path / "child").read_text())
        child = int((tmp_path / "child").read_text())
        # A plain directory is no cgroup: children are not in it by themselves.
        cgroup = one.tools.cgroups.root / one.board.main[0].attempt.cgroup
        (cgroup / "cgroup.procs").write_text(f"{one.board.main[0].attempt.pid}\n{child}\n")
        one.update(pod(sh(""), meta={"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0}))
        await asyncio.wait_for(task, 8)
        assert start_ticks(child) is None
        assert reports.state()["terminated"]["exitCode"] == 137


async def test_the_active_deadline_stops_containers(pod, worker, tools, reports):
    clock = ManualClock(time.time())
    use = msgspec.structs.replace(tools, clock=clock, runtime=Runtime(tools.runtime.state, tools.cgroups, clock))
    async with running(worker(pod(sh("exec sleep 1000"), activeDeadlineSeconds=60), use)):
        await until(lambda: reports.last.get("phase") == "Running")
        clock.advance(60)

        def failed() -> bool:
            clock.advance(0.1)  # the worker's own waits are on this clock too
            return reports.last.get("phase") == "Failed"

        await until(failed, 30)
        assert reports.last["reason"] == "DeadlineExceeded"


async def test_a_readiness_probe_by_command(pod, worker, reports, tmp_path):
    probe = {"exec": {"command": ["/bin/sh", "-c", f"test -e {tmp_path}/ready"]}, "periodSeconds": 1, "timeoutSeconds": 5}
    async with running(worker(pod(sh("exec sleep 1000", readinessProbe=probe)))):
        await until(lambda: reports.last.get("phase") == "Running")
        assert not reports.container()["ready"]
        (tmp_path / "ready").touch()
        await until(lambda: reports.container()["ready"])
        assert condition(reports.last, "Ready") == "True"


async def test_a_readiness_probe_over_http(pod, worker, reports, unused_tcp_port):
    server = (
        f"import http.server as h; h.HTTPServer(('127.0.0.1', {unused_tcp_port}), h.SimpleHTTPRequestHandler).serve_forever()"
    )
    container = {
        "command": [sys.executable, "-c", server],
        "ports": [{"name": "web", "containerPort": unused_tcp_port}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1},
    }
    async with running(worker(pod(container))):
        await until(lambda: reports.container().get("ready"))


async def test_a_failing_liveness_probe_replaces_the_container(pod, worker, reports):
    probe = {"tcpSocket": {"port": 1}, "periodSeconds": 1, "failureThreshold": 1}
    async with running(worker(pod(sh("exec sleep 1000", livenessProbe=probe)))):
        await until(lambda: reports.container().get("restartCount", 0) >= 1)
        assert any(reason == "Unhealthy" and "Liveness probe failed" in message for reason, message in reports.events)


async def test_the_next_agent_takes_containers_over(pod, worker, tools, reports):
    raw = pod(sh("sleep 0.5; exit 7"), sh("exit 0"), restartPolicy="Never")
    first = worker(raw)
    task = asyncio.create_task(first.run())
    await until(lambda: len(reports.statuses) and "running" in reports.state())
    await until(lambda: first.board.main[1].exit is not None)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    shim = first.board.main[0].attempt.shim
    second = worker(raw, msgspec.structs.replace(tools, runtime=Runtime(tools.runtime.state, tools.cgroups, tools.clock)))
    second.adopt(second.tools.runtime.recover("uid-web"))
    async with running(second):
        await until(lambda: reports.last.get("phase") == "Failed")
        assert [reports.state(n)["terminated"]["exitCode"] for n in (0, 1)] == [7, 0]
        assert [reports.container(n)["restartCount"] for n in (0, 1)] == [0, 0]
    os.waitpid(shim, 0)  # noqa: ASYNC222 — it has ended; an agent's death would have left it to init


async def test_a_killed_shim_is_a_container_of_unknown_end(pod, worker, reports):
    one = worker(pod(sh("exec sleep 1000"), restartPolicy="Never"))
    async with running(one):
        await until(lambda: reports.last.get("phase") == "Running")
        os.kill(one.board.main[0].attempt.shim, signal.SIGKILL)
        await until(lambda: reports.last.get("phase") == "Failed")
        state = reports.state()["terminated"]
        assert (state["exitCode"], state["reason"]) == (137, "ContainerStatusUnknown")
        assert start_ticks(one.board.main[0].attempt.pid) is None


async def test_a_pod_that_has_ended_is_never_run_again(pod, worker, reports):
    raw = pod(sh("echo again"), restartPolicy="Never")
    raw.status = {"phase": "Succeeded"}
    one = worker(raw)
    async with running(one) as task:
        one.update(pod(sh(""), meta={"deletionTimestamp": "2026-01-01T00:00:00Z"}))
        await asyncio.wait_for(task, 5)
    assert reports.statuses == []
    assert reports.removed == ["default/web"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the user")
async def test_run_as_user(pod, worker, reports):
    one = worker(pod(sh("id -u; id -g; id -G", securityContext={"runAsUser": 65534}), restartPolicy="Never"))
    async with running(one):
        await until(lambda: reports.last.get("phase") == "Succeeded")
        assert log_text(one).split() == ["65534"] * 3
