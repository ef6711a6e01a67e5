from pathlib import Path

import pytest

from koordinator.cluster.nodes.process import ProcessOptions, machine, usable
from koordinator.cluster.nodes.process.endpoint import log_request
from koordinator.cluster.nodes.process.logs import LogRequest


def options(tmp_path: Path, **more) -> ProcessOptions:
    return ProcessOptions(data_dir=tmp_path, cgroup_parent="koord-x", cgroup_root=tmp_path / "v1", **more)


def test_a_machine_with_writable_cgroups_is_usable_and_left_as_it_was(tmp_path, v1):
    before = sorted(tmp_path.rglob("*"))
    assert usable(options(tmp_path)) is None
    assert sorted(tmp_path.rglob("*")) == before


def test_a_machine_without_one_says_which_controller(tmp_path, v1):
    (tmp_path / "v1" / "memory").rename(tmp_path / "away")
    assert usable(options(tmp_path)).startswith("cgroup controller memory: ")


def test_a_directory_where_nothing_is_mounted_is_no_controller(tmp_path, v1):
    (tmp_path / "v1" / "cpuset" / "cgroup.procs").unlink()
    assert usable(options(tmp_path)) == f"cgroup controller cpuset: {tmp_path}/v1/cpuset is not mounted"


def test_reservations_come_off_what_pods_may_have(tmp_path):
    has = machine.capacity(options(tmp_path))
    left = machine.allocatable(options(tmp_path, reserved={"cpu": "250m", "memory": "1Mi"}))
    assert (has["cpu"] - left["cpu"], has["memory"] - left["memory"]) == (250, 1 << 20)


def test_a_reservation_that_is_no_quantity_is_named(tmp_path):
    with pytest.raises(ValueError, match="cpu: 'much'"):
        machine.allocatable(options(tmp_path, reserved={"cpu": "much"}))


def test_the_status_patch_carries_only_the_nodes_own_resources(tmp_path):
    seen = [{"type": "NetworkUnavailable", "status": "False"}]
    status = machine.status_patch(options(tmp_path), 1234, seen, 0.0)["status"]
    assert set(status["allocatable"]) == {"cpu", "memory", "ephemeral-storage", "pods"}
    assert status["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 1234}}
    assert [one["type"] for one in status["conditions"]] == [
        "MemoryPressure", "DiskPressure", "PIDPressure", "Ready", "NetworkUnavailable",
    ]  # fmt: skip


def test_log_requests():
    query = {"follow": "true", "tailLines": "5", "sinceSeconds": "10", "limitBytes": "7", "timestamps": "true"}
    assert log_request(query, 100.0) == LogRequest(follow=True, tail=5, since=90.0, limit_bytes=7, timestamps=True)
    assert log_request({"sinceTime": "1970-01-01T00:00:05Z"}, 0.0).since == 5.0


@pytest.mark.parametrize("query", [{"tailLines": "-1"}, {"limitBytes": "x"}, {"sinceTime": "yesterday"}])
def test_a_bad_log_parameter_is_named(query):
    with pytest.raises(ValueError, match=f"{next(iter(query))} is "):
        log_request(query, 0.0)
