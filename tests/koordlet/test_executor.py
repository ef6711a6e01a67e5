from pathlib import Path

import pytest

from koordinator.koordlet.enforce.audit import AuditLog
from koordinator.koordlet.enforce.decision import Subject, Write
from koordinator.koordlet.enforce.executor import Executor

ROOT, POD, INNER = "kubepods/besteffort", "kubepods/besteffort/podu1", "kubepods/besteffort/podu1/c"


@pytest.fixture
def groups(tree):
    for group in (POD, INNER):
        tree.group(group)
    return tree


@pytest.fixture
def executor(groups, clock, notices):
    return Executor(groups.cgroups, clock, notices, AuditLog("", clock), force_seconds=60)


def quota(group, value, **changes):
    return Write(group, "cpu.cfs_quota_us", str(value), "test", **changes)


def spy(tree):
    """The order of writes from now on."""
    order, write = [], tree.cgroups.write

    def record(name, group, text):
        write(name, group, text)
        order.append((group, text))

    tree.cgroups.write = record
    return order


def test_a_value_is_written_once_and_trusted_until_the_force_period_is_over(executor, groups, clock):
    shares = Write(POD, "cpu.shares", "1024", "test")
    assert executor.apply([shares]).written == 1
    groups.put(POD, "cpu.shares", "2" if groups.version == 1 else "1")  # somebody else meddles
    assert executor.apply([shares]).written == 0
    clock.advance(61)
    assert executor.apply([shares]).written == 1
    assert groups.cgroups.cpu_shares(POD) == (1024 if groups.version == 1 else 998)


def test_an_uncached_value_is_compared_with_the_file_each_time(executor, groups):
    assert executor.apply([quota(ROOT, 50_000, cached=False)]).written == 1
    groups.put(ROOT, "cpu.cfs_quota_us", "-1" if groups.version == 1 else "max 100000")
    assert executor.apply([quota(ROOT, 50_000, cached=False)]).written == 1
    assert executor.apply([quota(ROOT, 50_000, cached=False)]).written == 0


def test_widening_goes_down_and_tightening_goes_up(executor, groups):
    order = spy(groups)
    executor.apply([quota(INNER, 20_000), quota(POD, 30_000), quota(ROOT, 40_000)])
    assert [group for group, _ in order] == [INNER, POD, ROOT]
    order.clear()
    executor.apply([quota(INNER, -1), quota(POD, -1), quota(ROOT, 100_000)])
    assert [group for group, _ in order] == [ROOT, POD, INNER]


def test_one_batch_may_lift_the_children_and_squeeze_the_parent(executor, groups):
    executor.apply([quota(POD, 200_000), quota(INNER, 200_000)])
    order = spy(groups)
    executor.apply([quota(ROOT, 10_000), quota(POD, -1), quota(INNER, -1)])
    assert [group for group, _ in order] == [POD, INNER, ROOT]


def test_a_cpu_set_that_moves_passes_through_the_union(executor, groups):
    for group in (ROOT, POD):
        groups.put(group, "cpuset.cpus", "0-1")
    order = spy(groups)
    executor.apply([Write(group, "cpuset.cpus", "2-3", "test") for group in (ROOT, POD)])
    assert order == [(ROOT, "0-3"), (POD, "0-3"), (POD, "2-3"), (ROOT, "2-3")]


def test_a_vanished_cgroup_does_not_disturb_the_others_and_is_tried_again(executor, groups, caplog):
    writes = [Write(group, "cpu.shares", "512", "test") for group in ("kubepods/besteffort/podgone", POD)]
    outcome = executor.apply(writes)
    assert (outcome.written, outcome.vanished, outcome.failed) == (1, 1, 0)
    groups.group("kubepods/besteffort/podgone")
    assert executor.apply(writes).written == 1
    assert not caplog.records


def test_a_file_that_the_kernel_lacks_is_said_once(executor, caplog):
    for _ in range(3):
        assert executor.apply([Write(POD, "cpu.bvt_warp_ns", "-1", "test")]).failed == 0
    assert [record.message for record in caplog.records] == ["this kernel has no cpu.bvt_warp_ns: test goes without it"]


def test_a_refused_value_is_said_once_and_the_rest_goes_on(executor, groups, caplog):
    for _ in range(3):
        outcome = executor.apply([Write(POD, "cpu.shares", "1", "test"), Write(INNER, "cpu.shares", "512", "test")])
        assert outcome.failed == 1
    assert len(caplog.records) == 1
    assert "cpu.shares = 1" in caplog.text
    assert groups.cgroups.cpu_shares(INNER) >= 500


def test_undo_puts_back_what_was_there(executor, groups):
    before = [groups.values(group) for group in (ROOT, POD, INNER)]
    writes = [quota(group, 50_000) for group in (ROOT, POD, INNER)]
    writes += [Write(POD, "cpu.shares", "2048", "test"), Write(POD, "memory.limit_in_bytes", "1048576", "test")]
    executor.apply(writes)
    executor.apply([quota(POD, 40_000)])
    assert groups.values(POD) != before[1]
    executor.undo("test")
    assert [groups.values(group) for group in (ROOT, POD, INNER)] == before
    assert executor.owners() == []


def test_undo_writes_the_wanted_value_where_one_is_named(executor, groups):
    groups.put(ROOT, "cpu.cfs_quota_us", "30000" if groups.version == 1 else "30000 100000")
    executor.apply([quota(ROOT, 50_000, restore="-1")])
    executor.undo("test")
    assert groups.cgroups.cpu_quota(ROOT) == -1


def test_a_forgotten_cgroup_is_not_undone_and_nothing_of_it_stays_open(executor, groups):
    executor.apply([quota(POD, 50_000), quota(INNER, 40_000)])
    executor.forget(POD)
    assert len(groups.hot) == 0
    assert executor.undo("test").written == 0


def test_every_change_is_in_the_audit_log(groups, clock, notices, tmp_path):
    executor = Executor(groups.cgroups, clock, notices, AuditLog(str(tmp_path / "audit"), clock))
    write = Write(POD, "cpu.shares", "1024", "test", Subject("pod", "default", "batch"))
    executor.apply([write])
    executor.apply([write])
    lines = (tmp_path / "audit/audit.log").read_text().splitlines()
    assert len(lines) == 1
    assert '"type":"pod","namespace":"default","name":"batch","reason":"UpdateCgroups"' in lines[0]
    assert groups.cgroups.path("cpu.shares", POD) in lines[0]


def test_audit_files_rotate_within_their_total(clock, tmp_path, monkeypatch):
    monkeypatch.setattr("koordinator.koordlet.enforce.audit._FILE_BYTES", 200)
    audit = AuditLog(str(tmp_path), clock, max_disk_mb=1)
    monkeypatch.setattr(audit, "_kept", 2)
    for number in range(30):
        audit.record(Subject("node"), "UpdateCgroups", f"update /x to {number}")
        clock.advance(1)
    assert len(list(tmp_path.glob("audit-*.log"))) == 2
    assert '"message":"update /x to 29"' in (tmp_path / "audit.log").read_text()


def test_a_full_audit_disk_does_not_stop_the_change(groups, clock, notices, tmp_path, caplog):
    executor = Executor(groups.cgroups, clock, notices, AuditLog(str(tmp_path / "audit"), clock))
    Path(tmp_path / "audit/audit.log").mkdir()
    assert executor.apply([Write(POD, "cpu.shares", "1024", "test")]).written == 1
    assert "audit log" in caplog.text
