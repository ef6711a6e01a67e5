from pathlib import Path

import pytest

from koordinator.cluster.nodes.process import cgroups
from koordinator.cluster.nodes.process.limits import Limits
from koordinator.errors import Unavailable

SOME = Limits(shares=512, quota_us=50_000, memory=1 << 26, pids=100)


def read(path: Path) -> str:
    return path.read_text().strip()


def test_v1_writes_each_value_to_its_controller(v1):
    v1.create("p/kubepods/burstable/podx", SOME)
    at = "p/kubepods/burstable/podx"
    assert read(v1.root / "cpu" / at / "cpu.shares") == "512"
    assert read(v1.root / "cpu" / at / "cpu.cfs_quota_us") == "50000"
    assert read(v1.root / "cpu" / at / "cpu.cfs_period_us") == "100000"
    assert read(v1.root / "memory" / at / "memory.limit_in_bytes") == "67108864"
    assert read(v1.root / "pids" / at / "pids.max") == "100"


def test_v1_fills_empty_cpusets_from_the_parent_level_by_level(v1):
    v1.create("p/kubepods")
    (v1.root / "cpuset/p/kubepods/cpuset.cpus").write_text("0-1")  # somebody narrows it
    v1.create("p/kubepods/podx/c")
    assert read(v1.root / "cpuset/p/kubepods/podx/c/cpuset.cpus") == "0-1"
    assert read(v1.root / "cpuset/p/kubepods/podx/c/cpuset.mems") == "0"


def test_creating_again_leaves_what_others_wrote_meanwhile(v2):
    v2.create("p/kubepods/podx", SOME)
    (v2.root / "p/kubepods/podx/cpu.weight").write_text("77")
    v2.create("p/kubepods/podx", SOME)
    assert read(v2.root / "p/kubepods/podx/cpu.weight") == "77"


def test_creating_again_overwrites_no_cpuset(v1):
    v1.create("p/kubepods")
    (v1.root / "cpuset/p/kubepods/cpuset.cpus").write_text("1")
    v1.create("p/kubepods")
    assert read(v1.root / "cpuset/p/kubepods/cpuset.cpus") == "1"


def test_v2_writes_weight_max_and_memory(v2):
    v2.create("p/kubepods/podx", SOME)
    at = v2.root / "p/kubepods/podx"
    assert [read(at / name) for name in ("cpu.weight", "cpu.max", "memory.max", "pids.max")] == [
        "20",
        "50000 100000",
        "67108864",
        "100",
    ]


def test_v2_hands_controllers_down_to_every_parent(v2):
    v2.create("p/kubepods/podx")
    for level in (".", "p", "p/kubepods"):
        assert read(v2.root / level / "cgroup.subtree_control") == "+cpu +memory +cpuset +io +pids"
    assert read(v2.root / "p/kubepods/podx/cgroup.subtree_control") == ""


def test_no_limit_leaves_the_kernels_values(v2):
    v2.create("p", Limits())
    assert [read(v2.root / "p" / name) for name in ("cpu.weight", "cpu.max", "memory.max")] == ["100", "max 100000", "max"]


def test_a_process_joins_every_v1_hierarchy_and_one_file_in_v2(v1, v2):
    assert len(v1.procs_files("p")) == len(v1.controllers) == 5
    assert v2.procs_files("p") == [str(v2.root / "p/cgroup.procs")]


def test_remove_takes_what_is_below_too(v1):
    v1.create("p/kubepods/podx/c")
    assert v1.remove("p")
    assert not list(v1.root.glob("*/p"))


@pytest.mark.parametrize("missing", ["cpu", "cpuacct", "memory", "cpuset"])
def test_a_missing_v1_controller_is_named(v1, missing):
    (v1.root / missing).rename(v1.root / "elsewhere")
    with pytest.raises(Unavailable, match=rf"cgroup controller {missing}: .*{missing} is not mounted"):
        cgroups.detect(v1.root)


def test_a_missing_v2_controller_is_named(v2):
    (v2.root / "cgroup.controllers").write_text("cpu pids\n")
    with pytest.raises(Unavailable, match="cgroup controller memory"):
        cgroups.detect(v2.root)


def test_the_version_is_found(v1, v2, tmp_path):
    assert cgroups.detect(v2.root).version == 2
    (v2.root / "cgroup.controllers").unlink()
    assert cgroups.detect(v1.root).version == 1


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    with pytest.raises(Unavailable, match="cgroup p: No such file or directory"):
        cgroups.CgroupsV2(tmp_path / "nowhere").create("p")


@pytest.mark.parametrize("text", ["oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", "low 0\nmax 7\noom 1\noom_kill 2\n"])
def test_oom_kills_in_both_formats(tmp_path, text):
    (tmp_path / "events").write_text(text)
    assert cgroups.oom_kills(tmp_path / "events") == 2
