"""Start the whole cluster on this machine: which components, in which order, with which options.

The API server is forked first and the other components' code is imported while it starts; they are forked when it answers.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from koordinator.api.meta import format_time
from koordinator.clock import Clock, SystemClock
from koordinator.cluster.state import DataDir, RunState, start_ticks
from koordinator.cluster.supervisor import Component, Supervisor
from koordinator.errors import KoordError, Unavailable
from koordinator.kube import config as kube_config

READY_SECONDS = 30.0
DEFAULT_HOLLOW_NODES = 3
MANAGER_GATES = "KOORD_MANAGER_FEATURE_GATES"
"""Environment variable: the manager's ``--feature-gates`` in this cluster."""

Say = Callable[[str], None]


class UpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to start. ``this_machine``: True requires a process node, False forbids it, None takes it when possible."""

    data: Path
    port: int = 7443
    nodes: int = 0
    node_shape: str = ""
    this_machine: bool | None = None
    node_name: str = ""


class Plan(msgspec.Struct, frozen=True):
    """Which nodes the cluster gets."""

    process: bool
    hollow: int
    node_name: str
    why_hollow: str = ""


def plan_nodes(options: UpOptions, obstacle: str | None) -> Plan:
    """Decide between this machine and hollow nodes; ``obstacle`` says why this machine cannot be one, None when it can.

    Raises Unavailable when a process node is required and cannot be.
    """
    name = options.node_name or socket.gethostname().lower()
    wanted = options.this_machine if options.this_machine is not None else options.nodes == 0
    if wanted and obstacle is None:
        return Plan(process=True, hollow=options.nodes, node_name=name)
    if options.this_machine:
        raise Unavailable(
            "process node", obstacle or "", "run as root on a machine with cgroups, or use hollow nodes (--nodes)"
        )
    hollow = options.nodes or (DEFAULT_HOLLOW_NODES if options.this_machine is None else 0)
    return Plan(process=False, hollow=hollow, node_name="", why_hollow=(obstacle or "") if wanted else "")


def run(options: UpOptions, say: Say, on_ready: Callable[[RunState], None] = lambda _: None) -> None:
    """Start the cluster and stay until SIGTERM or SIGINT. Raises Unavailable when a part cannot start."""
    clock = SystemClock()
    data = DataDir(options.data)
    data.create()
    lock = data.lock()
    plan = plan_nodes(options, _obstacle(data))
    debug_port = _free_port()
    supervisor = Supervisor(data.logs, clock, say)
    try:
        supervisor.start(_apiserver(data, options.port, clock))
        _preload()
        supervisor.wait_ready({"apiserver"}, READY_SECONDS)
        components = _components(data, plan, options, clock, debug_port)
        for component in components:
            supervisor.start(component)
        supervisor.wait_ready({component.name for component in components}, READY_SECONDS)
        if not supervisor.stop_requested:
            state = _state(data, plan, supervisor, debug_port)
            data.write(state)
            on_ready(state)
            supervisor.run(lambda: data.write(_state(data, plan, supervisor, debug_port)))
    finally:
        supervisor.stop()
        data.run_file.unlink(missing_ok=True)
        os.close(lock)


def detach(options: UpOptions) -> RunState:
    """Start the cluster in the background; returns when it is ready. Raises KoordError with the reason when it is not."""
    answer_read, answer_write = os.pipe2(os.O_CLOEXEC)
    if os.fork() == 0:
        os.close(answer_read)
        _background(options, answer_write)
    os.close(answer_write)
    with os.fdopen(answer_read, "rb") as answers:
        answer = answers.readline()  # not until the end: the cluster's processes hold copies of the other side
    os.wait()
    try:
        return msgspec.json.decode(answer, type=RunState)
    except msgspec.DecodeError:
        if why := answer.decode().strip():
            raise KoordError(why) from None
        raise Unavailable("cluster", "the background process died", f"see {options.data / 'logs'}") from None


def _background(options: UpOptions, answer: int) -> None:
    """In the fork: fork once more so that nobody waits for us, then run; one answer tells the waiting parent how it went."""
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)

    def tell(payload: bytes) -> None:
        nonlocal answer
        if answer >= 0:
            os.write(answer, payload + b"\n")
            os.close(answer)
            answer = -1

    def note(text: str) -> None:
        with (options.data / "logs" / "supervisor.log").open("a") as file:
            file.write(f"{format_time(SystemClock().now())} {text}\n")

    try:
        run(options, note, lambda state: tell(msgspec.json.encode(state)))
    except KoordError as err:
        tell(" ".join(str(err).split()).encode())
    except BaseException as err:  # noqa: BLE001 — nobody else is left to tell
        tell(repr(err).encode())
    finally:
        os._exit(0)


def _state(data: DataDir, plan: Plan, supervisor: Supervisor, debug_port: int) -> RunState:
    return RunState(
        pid=os.getpid(),
        start_ticks=start_ticks(os.getpid()) or 0,
        server=kube_config.load(str(data.kubeconfig)).server,
        components=supervisor.pids,
        node="process" if plan.process else "hollow",
        node_name=plan.node_name,
        hollow_nodes=plan.hollow,
        why_hollow=plan.why_hollow,
        scheduler=f"http://127.0.0.1:{debug_port}",
    )


def _obstacle(data: DataDir) -> str | None:
    from koordinator.cluster.nodes.process import ProcessOptions, usable

    return usable(ProcessOptions(data_dir=data.root, cgroup_parent=data.cgroup_parent))


def _apiserver(data: DataDir, port: int, clock: Clock) -> Component:
    """Its ports are chosen here, once: a server that is started again answers where its clients look for it."""
    from koordinator.cluster.apiserver import app

    options = app.ApiServerOptions(data=data.root, port=port or _free_port(), http_port=_free_port())
    return Component("apiserver", lambda on_ready: app.run(options, clock, on_ready))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _preload() -> None:
    """Import what the other components need: every fork shares it."""
    import aiohttp.web
    import numpy as np

    import koordinator.cluster.controllers.app
    import koordinator.cluster.nodes.app
    import koordinator.koordlet.app
    import koordinator.manager.app
    import koordinator.scheduler.app

    _ = (aiohttp.web, np, koordinator)


def _components(data: DataDir, plan: Plan, options: UpOptions, clock: Clock, debug_port: int) -> list[Component]:
    """All but the API server, in the order of their start; they are stopped in the reverse order."""
    kubeconfig = str(data.component_kubeconfig)
    found = [_controllers(kubeconfig, clock), _manager(kubeconfig, clock), _scheduler(kubeconfig, clock, debug_port)]
    found.append(_nodes(data, plan, options, clock))
    if plan.process:
        found.append(_koordlet(data, plan, clock))
    return found


def _controllers(kubeconfig: str, clock: Clock) -> Component:
    from koordinator.cluster.controllers import app

    options = app.ControllersOptions(kubeconfig=kubeconfig)
    return Component("controllers", lambda on_ready: app.run(options, clock, on_ready))


def _manager(kubeconfig: str, clock: Clock) -> Component:
    from koordinator.manager import app

    options = app.ManagerOptions(kubeconfig=kubeconfig, feature_gates=os.environ.get(MANAGER_GATES, ""))
    return Component("manager", lambda on_ready: app.run(options, clock, on_ready))


def _scheduler(kubeconfig: str, clock: Clock, debug_port: int) -> Component:
    from koordinator.scheduler import app

    options = app.SchedulerOptions(kubeconfig=kubeconfig, http_port=debug_port)
    return Component("scheduler", lambda on_ready: app.run(options, clock, on_ready))


def _nodes(data: DataDir, plan: Plan, options: UpOptions, clock: Clock) -> Component:
    from koordinator.cluster.nodes import app
    from koordinator.cluster.nodes.hollow import HollowOptions
    from koordinator.cluster.nodes.process import ProcessOptions

    process, hollow = None, None
    if plan.process:
        process = ProcessOptions(data_dir=data.root, cgroup_parent=data.cgroup_parent, node_name=plan.node_name)
    if plan.hollow:
        hollow = HollowOptions(count=plan.hollow, shape=options.node_shape)
    settings = app.NodesOptions(kubeconfig=str(data.component_kubeconfig), process=process, hollow=hollow)
    return Component("nodes", lambda on_ready: app.run(settings, clock, on_ready), stop_seconds=40.0)


def _koordlet(data: DataDir, plan: Plan, clock: Clock) -> Component:
    from koordinator.api.features import KOORDLET
    from koordinator.koordlet import app

    options = app.KoordletOptions(
        node_name=plan.node_name,
        kubeconfig=str(data.component_kubeconfig),
        cgroup_parent=data.cgroup_parent,
        kubelet_token_file=str(data.kubelet_token),
        kubelet_ca_file=str(data.pki / "ca.crt"),
        kubelet_sync_interval=1.0,
        report_floor=1.0,
        aggregate_floor=5.0,
        audit_log_dir=str(data.logs / "audit"),
        features=KOORDLET.parse("AuditEvents=true,CoreSched=true"),
        undo_on_exit=True,
    )
    return Component("koordlet", lambda on_ready: app.run(options, clock, on_ready))
