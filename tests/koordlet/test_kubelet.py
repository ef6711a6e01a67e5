import msgspec
import pytest

from koordinator.errors import Unavailable
from koordinator.koordlet.host.paths import Layout
from koordinator.koordlet.observe.kubelet import Endpoint, Kubelet, PodList
from koordlet.fakes import certificate, serve_kubelet
from koordlet.trees import batch_pod, node


@pytest.fixture
async def kubelet(tmp_path):
    async with serve_kubelet(tmp_path) as made:
        yield made


@pytest.fixture
async def pods(kubelet, tmp_path, clock, notices):
    (tmp_path / "token").write_text("secret\n")
    source = Kubelet(Endpoint(str(tmp_path / "token"), str(tmp_path / "kubelet.crt")), clock)
    yield PodList(source, Layout(parent="koord-1"), clock, notices)
    await source.close()


def plain(pod):
    return msgspec.to_builtins(pod)


def gone_pods(groups):
    return [group.rpartition("/")[2] for group in groups if "/podu" in group and group.count("/") == 3]


async def sync(pods, kubelet, *, has_pods=False):
    return await pods.sync(node(port=kubelet.port), lambda: has_pods)


async def test_pods_come_with_their_cgroups(pods, kubelet):
    kubelet.pods = [plain(batch_pod())]
    assert await sync(pods, kubelet)
    assert [view.group for view in pods.views] == ["koord-1/kubepods/besteffort/podu1"]
    assert pods.views[0].containers[0].group.endswith("podu1/" + "a" * 64)


async def test_an_unchanged_pod_keeps_its_view_and_a_gone_one_is_told(pods, kubelet):
    gone = []
    pods.on_gone = gone.append
    kubelet.pods = [plain(batch_pod()), plain(batch_pod(name="other", uid="u2"))]
    await sync(pods, kubelet)
    first = pods.views[0]
    kubelet.pods.pop()
    await sync(pods, kubelet)
    assert pods.views == [first]
    assert pods.views[0] is first
    assert gone_pods(gone) == ["podu2"]


async def test_a_starting_container_is_waited_for_in_haste_but_not_for_ever(pods, kubelet, clock):
    kubelet.pods = [plain(batch_pod(container_id=""))]
    assert not await sync(pods, kubelet)
    clock.advance(6)
    assert await sync(pods, kubelet)
    kubelet.pods = [plain(batch_pod())]
    assert await sync(pods, kubelet)
    assert pods.views[0].containers


async def test_one_bad_pod_is_named_once_and_left_out(pods, kubelet, caplog):
    bad = plain(batch_pod(name="bad", uid="u3")) | {"spec": {"containers": 7}}
    kubelet.pods = [bad, plain(batch_pod())]
    await sync(pods, kubelet)
    kubelet.pods.append(plain(batch_pod(name="third", uid="u4")))
    await sync(pods, kubelet)
    assert sorted(view.uid for view in pods.views) == ["u1", "u4"]
    assert [record.message.split(" cannot")[0] for record in caplog.records] == ["pod default/bad"]


async def test_an_empty_list_is_believed_only_when_no_pod_has_a_cgroup(pods, kubelet):
    assert not await sync(pods, kubelet, has_pods=True)
    assert not pods.has_synced
    assert await sync(pods, kubelet)
    assert pods.has_synced


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": 500, "body": b"boom"}, "HTTP 500: boom"),
        ({"body": b"<html>"}, "not a PodList"),
        ({"token": "rotated"}, "HTTP 401"),
        ({"port": 1}, "Cannot connect"),
    ],
)
async def test_a_kubelet_in_trouble_is_said_once_and_the_last_list_stays(pods, kubelet, caplog, change, said):
    kubelet.pods = [plain(batch_pod())]
    await sync(pods, kubelet)
    for name, value in change.items():
        setattr(kubelet, name, value)
    for _ in range(2):
        assert not await sync(pods, kubelet)
    assert len(pods.views) == 1
    assert [said in record.message for record in caplog.records] == [True]


async def test_a_kubelet_that_starts_with_us_gets_a_moment(pods, kubelet, caplog):
    kubelet.status = 503
    for _ in range(3):
        assert not await sync(pods, kubelet)
    assert not caplog.records
    for _ in range(10):
        await sync(pods, kubelet)
    assert len(caplog.records) == 1


async def test_a_certificate_of_somebody_else_is_refused(kubelet, tmp_path, clock):
    (tmp_path / "other").mkdir()
    source = Kubelet(Endpoint(ca_file=str(certificate(tmp_path / "other")[0])), clock)
    with pytest.raises(Unavailable, match="certificate verify failed"):
        await source.pods(node(port=kubelet.port))
    await source.close()


@pytest.mark.parametrize(
    ("endpoint", "made", "said"),
    [
        (Endpoint(address_type="ExternalIP"), node(port=1), "no address of type ExternalIP"),
        (Endpoint(), node(port=0), "has no port"),
        (Endpoint(token_file="/nonexistent"), node(port=1), "kubelet token /nonexistent: No such file"),
    ],
)
async def test_what_is_missing_to_ask_is_named(endpoint, made, said, clock):
    source = Kubelet(endpoint, clock)
    with pytest.raises(Unavailable, match=said):
        await source.pods(made)
    await source.close()
