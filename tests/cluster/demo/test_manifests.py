import socket

from koordinator.cluster.demo.manifests import PORT, at_port, folder, free_port
from koordinator.kube.apply import manifests_at


def test_every_manifest_that_names_the_port_follows_it():
    moved = {manifest.title: str(at_port(manifest, 4321).body) for manifest in manifests_at(folder())}
    plain = {manifest.title: str(manifest.body) for manifest in manifests_at(folder())}
    assert {title for title, body in plain.items() if str(PORT) in body} == {"deployment/web", "pod/load"}
    assert moved == {title: body.replace(str(PORT), "4321") for title, body in plain.items()}


def test_a_taken_port_is_replaced_by_a_free_one():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port
