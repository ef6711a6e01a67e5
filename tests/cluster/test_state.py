import os
import subprocess
import sys

import pytest

from koordinator.cluster.state import DataDir, RunState, start_ticks
from koordinator.errors import Unavailable


def state(pid: int, ticks: int) -> RunState:
    return RunState(pid=pid, start_ticks=ticks, server="https://127.0.0.1:1", components={}, node="hollow", node_name="")


@pytest.fixture
def data(tmp_path) -> DataDir:
    data = DataDir(tmp_path / "data")
    data.create()
    return data


def test_a_running_cluster_is_found_and_its_file_is_private(data):
    data.write(state(os.getpid(), start_ticks(os.getpid())))
    assert data.running().pid == os.getpid()
    assert data.run_file.stat().st_mode & 0o077 == 0


def test_a_reused_pid_is_not_the_cluster(data):
    data.write(state(os.getpid(), 1))
    assert data.running() is None
    with pytest.raises(Unavailable, match="start one with `koord up`"):
        data.must_run()


def test_an_ended_process_has_no_start(data):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert start_ticks(process.pid) is None


def test_a_second_cluster_on_the_directory_is_refused_with_the_holder_named(data):
    held = data.lock()
    code = f"""
from pathlib import Path
from koordinator.cluster.state import DataDir
from koordinator.errors import Unavailable
try:
    DataDir(Path({str(data.root)!r})).lock()
except Unavailable as err:
    print(err)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"a cluster runs on it (pid {os.getpid()}); stop it with `koord down`" in said
    os.close(held)


def test_an_unusable_directory_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="choose another with --data"):
        DataDir(tmp_path / "file" / "data").create()


def test_a_directory_that_may_not_be_used_is_one_sentence(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(Unavailable, match=f"data directory {file}/data: .*Not a directory; choose another with --data"):
        DataDir(file / "data").create()
    with pytest.raises(Unavailable, match="No such file or directory; choose another with --data"):
        DataDir(tmp_path / "absent").lock()
    assert DataDir(file / "data").running() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user to be")
def test_another_users_directory_is_one_sentence(data):
    data.write(state(os.getpid(), 1))
    code = (
        "import os, pathlib; from koordinator.cluster.state import DataDir; os.setgid(65534); os.setuid(65534); "
        f"DataDir(pathlib.Path({str(data.root)!r})).running()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"Unavailable: data directory {data.root}: {data.run_file}: Permission denied" in done.stderr
