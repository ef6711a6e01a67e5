import os
from pathlib import Path

import pytest

from koordinator.koordlet.host import files, machine, parse, registry
from koordinator.koordlet.host.files import HotFiles
from koordinator.koordlet.host.paths import Driver, Layout
from koordinator.koordlet.host.registry import FILES


@pytest.fixture
def hot():
    made = HotFiles(limit=3)
    yield made
    made.close()


def descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_hot_file_stays_open_and_is_read_afresh(hot, tmp_path):
    path = tmp_path / "f"
    path.write_text("1")
    assert hot.read(str(path)) == "1"
    before = descriptors()
    path.write_text("22")
    assert hot.read(str(path)) == "22"
    assert descriptors() == before


def test_files_of_any_length_are_read_whole(hot, tmp_path):
    text = "x" * 50_000
    (tmp_path / "f").write_text(text)
    assert hot.read(str(tmp_path / "f")) == text


def test_no_more_files_are_open_than_allowed(hot, tmp_path):
    before = descriptors()
    for number in range(10):
        (tmp_path / str(number)).write_text(str(number))
        assert hot.read(str(tmp_path / str(number))) == str(number)
    assert (len(hot), descriptors()) == (3, before + 3)
    hot.close()
    assert descriptors() == before


def test_a_missing_file_is_the_systems_own_error(hot, tmp_path):
    with pytest.raises(FileNotFoundError):
        hot.read(str(tmp_path / "nothing"))
    assert files.directories(str(tmp_path / "nothing")) == []
    assert files.changed_at(str(tmp_path / "nothing")) == 0


def test_this_machine_can_be_read(hot):
    found = machine.processors("/sys")
    assert len(found) == os.cpu_count()
    stat = hot.read("/proc/stat")
    assert set(parse.cpu_ticks(stat)) == {processor.cpu for processor in found}
    assert 0 < parse.node_memory(hot.read("/proc/meminfo")).usage < parse.node_memory(hot.read("/proc/meminfo")).total


def test_siblings_share_a_core_and_cpus_their_numa_node(tree):
    found = machine.processors(tree.roots.sys)
    assert [(one.cpu, one.core, one.socket, one.node) for one in found] == [
        (0, 0, 0, 0),
        (1, 0, 0, 0),
        (2, 2, 0, 0),
        (3, 2, 0, 0),
    ]
    assert machine.numa_memory(tree.roots.sys, tree.hot)[0].total == 16 << 30


def test_numa_nodes_that_are_not_contiguous_are_refused(tree):
    base = Path(tree.roots.sys, "bus/node/devices")
    (base / "node0").rename(base / "node1")
    with pytest.raises(ValueError, match="not contiguous"):
        machine.numa_memory(tree.roots.sys, tree.hot)


def test_generic_initiators_are_no_numa_nodes(tree):
    (Path(tree.roots.sys, "bus/node/devices") / "node1").mkdir()
    listed = Path(tree.roots.sys, "devices/system/node/has_generic_initiator")
    listed.parent.mkdir(parents=True, exist_ok=True)
    listed.write_text("1\n")
    assert machine.numa_nodes(tree.roots.sys) == [0]


def test_the_driver_shows_in_the_directory_that_the_kubelet_made(tree):
    assert machine.detect_driver(tree.roots.cgroup, tree.version) is Driver.CGROUPFS
    assert machine.detect_driver(tree.roots.cgroup, tree.version, "koord-x") is None
    tree.put("kubepods.slice", "cpu.shares", "2")
    assert machine.detect_driver(tree.roots.cgroup, tree.version) is Driver.SYSTEMD


def test_a_parent_prefixes_every_directory():
    layout = Layout(Driver.CGROUPFS, "koord-1")
    assert layout.pod_dir("u", "Guaranteed") == "koord-1/kubepods/podu"
    assert Layout(Driver.SYSTEMD).pod_dir("a-b", "Guaranteed") == "kubepods.slice/kubepods-poda_b.slice"


@pytest.mark.parametrize("version", [1, 2])
def test_every_file_lies_below_the_root_and_a_missing_one_is_a_lookup_error(version):
    for file in FILES.values():
        if file.exists_in(version):
            assert registry.path("/r", version, file, "a/b").startswith("/r/")
        else:
            with pytest.raises(LookupError, match=f"of v{version}"):
                registry.find(file.name, version)


@pytest.mark.parametrize("text", ["", "cpu 1 2", "cpu a b c d e f g h"])
def test_a_stat_that_cannot_be_read_says_why(text):
    with pytest.raises(ValueError, match=r"cpu|invalid literal"):
        parse.total_ticks(text)


def test_tiers_are_not_pods_with_either_driver():
    systemd, cgroupfs = Layout(Driver.SYSTEMD), Layout()
    assert not any(systemd.is_pod(name) for name in ("kubepods-besteffort.slice", "kubepods-burstable.slice", "system.slice"))
    assert systemd.is_pod("kubepods-podu1.slice")
    assert not cgroupfs.is_pod("besteffort")
    assert cgroupfs.is_pod("podu1")
