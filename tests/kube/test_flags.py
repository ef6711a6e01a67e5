import pytest

from koordinator.errors import ConfigInvalid
from koordinator.kube.config import ClientConfig, write_kubeconfig
from koordinator.kube.flags import HELP, ConnectionFlags, client_config


@pytest.fixture
def kubeconfig(tmp_path):
    path = tmp_path / "kubeconfig"
    write_kubeconfig(path, ClientConfig(server="https://there:6443", token="secret"))
    return str(path)


def test_flags_become_a_configuration(kubeconfig):
    flags = ConnectionFlags(kubeconfig=kubeconfig, kube_api_qps=50, kube_api_burst=100)
    config = client_config(flags, user_agent="koord-test")
    assert (config.server, config.token, config.qps, config.burst) == ("https://there:6443", "secret", 50, 100)
    assert config.user_agent == "koord-test"


def test_master_is_in_place_of_the_kubeconfigs_server(kubeconfig):
    assert client_config(ConnectionFlags(kubeconfig=kubeconfig, master="http://here:1")).server == "http://here:1"


@pytest.mark.parametrize(("qps", "burst", "result"), [(0, 0, (0, 0)), (-1, 5, (0, 0)), (20, 0, (20, 40)), (0.2, 0, (0.2, 1))])
def test_rate_and_burst(kubeconfig, qps, burst, result):
    config = client_config(ConnectionFlags(kubeconfig=kubeconfig, kube_api_qps=qps, kube_api_burst=burst))
    assert (config.qps, config.burst) == result


def test_a_negative_burst_is_refused(kubeconfig):
    with pytest.raises(ConfigInvalid, match="--kube-api-burst is -1, must not be negative"):
        client_config(ConnectionFlags(kubeconfig=kubeconfig, kube_api_burst=-1))


def test_every_flag_has_a_sentence():
    assert HELP.keys() == set(ConnectionFlags.__struct_fields__)
