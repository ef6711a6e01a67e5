"""The example package, installed as pip would lay it out, loaded by its entry point and named in a configuration."""

import subprocess
import sys
from pathlib import Path

import pytest

from koordinator.clock import ManualClock
from koordinator.errors import ConfigInvalid, Unavailable
from koordinator.scheduler.catalogue import with_entry_points
from koordinator.scheduler.config.read import read
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.profiles import make_profiles
from scheduler.builders import READER, node, pod
from scheduler.stories import Story

EXAMPLE = Path(__file__).parents[2] / "examples" / "scheduler-plugin"
CONFIG = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: koord-scheduler
  plugins:
    multiPoint:
      enabled:
      - name: QuietRack
        weight: 5
  pluginConfig:
  - name: QuietRack
    args:
      quietRacks: [r1]
"""


def lay_out(folder: Path, name: str, module: Path | str, entry: str) -> None:
    """What pip leaves behind, as far as entry points are concerned."""
    info = folder / f"{name.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[koordinator.scheduler.plugins]\n{entry}\n")
    package = folder / entry.partition("= ")[2].partition(":")[0]
    package.mkdir()
    (package / "__init__.py").write_text(module.read_text() if isinstance(module, Path) else module)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    lay_out(tmp_path, "quiet-rack", EXAMPLE / "src" / "quiet_rack" / "__init__.py", "QuietRack = quiet_rack:QuietRack")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("quiet_rack", None)


def test_the_package_declares_the_entry_point():
    assert 'QuietRack = "quiet_rack:QuietRack"' in (EXAMPLE / "pyproject.toml").read_text()


def test_twenty_lines():
    code = (EXAMPLE / "src" / "quiet_rack" / "__init__.py").read_text().split("class QuietRack:")[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20


def test_noisy_pods_keep_out_of_quiet_racks_and_like_room(installed):
    catalogue = with_entry_points()
    reading = read(CONFIG, catalogue)
    cluster, clock, story = Cluster(), ManualClock(), Story()
    profiles = make_profiles(reading.configuration, catalogue, [Handle(cluster, None, clock, "koord-scheduler")])
    scheduler = Scheduler(cluster, SchedulingQueue(clock.monotonic), profiles, story, 1)
    bindings = {}
    scheduler.submit = lambda binding: bindings.__setitem__(binding.pod.info.name, binding.node)
    for name, rack, cpu in (("a", "r1", "64"), ("b", "r2", "4"), ("c", "r2", "8")):
        cluster.set_node(node(name, cpu=cpu, labels={"rack": rack}))
    for one in (
        pod("quiet", cpu="1"),
        pod("noisy", cpu="1", labels={"noise": "loud"}),
        pod("huge", cpu="9", labels={"noise": "loud"}),
    ):
        scheduler.add_pending(READER.read(one), "koord-scheduler")
    while scheduler.schedule_one():
        pass
    assert bindings == {"quiet": "a", "noisy": "c"}
    assert story.refused["huge"].startswith("0/3 nodes are available: 1 node(s) were in a quiet rack, 2 Insufficient cpu.")


def test_its_arguments_are_checked_like_ours(installed):
    with pytest.raises(ConfigInvalid, match=r"profiles\[0\]\.pluginConfig\[0\]\.args\.quietRack is .* not a known field"):
        read(CONFIG.replace("quietRacks", "quietRack"), with_entry_points())


def test_a_package_whose_plugin_cannot_be_loaded_is_named(tmp_path, monkeypatch):
    lay_out(tmp_path, "broken-plugin", "raise RuntimeError('no licence')", "Broken = broken_plugin:Broken")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Unavailable, match="plugin Broken of broken-plugin: RuntimeError: no licence"):
        with_entry_points()
    sys.modules.pop("broken_plugin", None)


def test_the_command_line_finds_it_too(installed):
    (installed / "config.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "koordinator", "scheduler", f"--config={installed / 'config.yaml'}"]
    written = installed / "out.yaml"
    done = subprocess.run(
        [*command, f"--write-config-to={written}"],
        env={"PYTHONPATH": str(installed), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "QuietRack" in written.read_text()


def test_the_how_to_shows_the_plugin_as_it_is():
    page = (EXAMPLE.parents[1] / "docs" / "how-to" / "write-a-scheduler-plugin.md").read_text()
    shown = page.split("```python\n")[1].split("```")[0]
    code = "class QuietRack:" + (EXAMPLE / "src" / "quiet_rack" / "__init__.py").read_text().split("class QuietRack:")[1]
    assert shown.replace("  # optional: a msgspec.Struct; arguments are then typed and checked", "").strip() == code.strip()
