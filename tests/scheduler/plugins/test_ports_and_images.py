"""NodePorts and ImageLocality against their rules written plainly, after any order of events."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from koordinator.api.core import Container, ContainerImage, ContainerPort, PodResourceClaim
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.compile import Compiled
from koordinator.scheduler.engine.evaluate import Evaluator
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.plugins.dynamic_resources.unsupported import UnsupportedClaims
from koordinator.scheduler.plugins.image_locality import ImageLocality, full_name
from koordinator.scheduler.plugins.node_ports import NodePorts
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from scheduler import builders
from scheduler.builders import READER

MEBIBYTE = 2**20
container_ports = st.builds(
    ContainerPort,
    host_port=st.sampled_from([None, 0, 80, 443]),
    host_ip=st.sampled_from([None, "", "0.0.0.0", "127.0.0.1", "10.0.0.1"]),
    protocol=st.sampled_from([None, "TCP", "UDP"]),
)


@st.composite
def pods(draw):
    one = builders.pod()
    containers = [Container(name=str(index), ports=draw(st.lists(container_ports, max_size=2))) for index in range(2)]
    one.spec.containers = containers[:1]
    containers[1].restart_policy = draw(st.sampled_from([None, "Always"]))
    one.spec.init_containers = containers[1:]
    return one


def wanted(pod):
    sidecars = [one for one in pod.spec.init_containers if one.restart_policy == "Always"]
    for container in [*pod.spec.containers, *sidecars]:
        for port in container.ports:
            if port.host_port:
                yield port.protocol or "TCP", port.host_port, port.host_ip or "0.0.0.0"


def clash(one, other):
    return any(
        mine[:2] == theirs[:2] and (mine[2] == theirs[2] or "0.0.0.0" in (mine[2], theirs[2]))
        for mine in wanted(one)
        for theirs in wanted(other)
    )


@given(residents=st.lists(st.tuples(pods(), st.integers(0, 2), st.booleans()), max_size=6), one=pods())
@settings(max_examples=150, deadline=None)
def test_ports(residents, one):
    cluster, where = Cluster(), {f"n{index}": [] for index in range(3)}
    plugin = NodePorts(cluster)
    for name in where:
        cluster.set_node(builders.node(name))
    for resident, place, leaves in residents:
        cluster.place(READER.read(resident), f"n{place}")
        if leaves:
            cluster.remove(resident.metadata.uid)
        else:
            where[f"n{place}"].append(resident)
    columns = cluster.columns
    asked = Compiled(Profile(["x"], [PrioritySort(), plugin]), READER.read(one), columns)
    codes = plugin.filter(asked.state, asked.pod, columns, columns.rows) if asked.filters else np.zeros(3)
    expected = {name: any(clash(one, other) for other in there) for name, there in where.items()}
    assert {name: bool(codes[row]) for name, row in columns.row_of.items()} == expected
    assert plugin.explain({}, 1, columns) == ["node(s) didn't have free ports for the requested pod ports"]


IMAGES = ["nginx", "nginx:1.25", "registry:5000/app", "registry:5000/app:v1", "huge"]
node_images = st.lists(st.tuples(st.sampled_from(IMAGES), st.integers(0, 4000)), max_size=3, unique_by=lambda one: one[0])


def with_images(name, images):
    node = builders.node(name)
    node.status.images = [ContainerImage(names=[full_name(image)], size_bytes=size * MEBIBYTE) for image, size in images]
    return node


def expected_score(pod, here, everywhere):
    total = 0
    containers = [*(pod.spec.init_containers or ()), *pod.spec.containers]
    for container in containers:
        name = full_name(container.image)
        sizes = {full_name(image): size * MEBIBYTE for image, size in here}
        having = sum(name in [full_name(image) for image, _ in images] for images in everywhere.values())
        total += int(sizes.get(name, 0) * (having / len(everywhere)))
    low, high = 23 * MEBIBYTE, 1000 * MEBIBYTE * len(containers)
    return 100 * (min(max(total, low), high) - low) // (high - low)


@given(
    moves=st.lists(st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), node_images)), min_size=1, max_size=8),
    used=st.lists(st.sampled_from(IMAGES), min_size=1, max_size=3),
)
@settings(max_examples=150, deadline=None)
def test_images(moves, used):
    cluster, everywhere = Cluster(), {}
    plugin = ImageLocality(cluster)
    evaluator = Evaluator(Profile(["x"], [PrioritySort(), plugin]), cluster.columns)
    one = builders.pod()
    one.spec.containers = [Container(name=str(index), image=image) for index, image in enumerate(used)]
    for name, images in moves:
        if images is None:
            cluster.remove_node(name)
            everywhere.pop(name, None)
        else:
            cluster.set_node(with_images(name, images))
            everywhere[name] = images
        evaluation = evaluator.evaluate(READER.read(one))
        totals = {known: int(evaluation.total[row]) for known, row in cluster.columns.row_of.items()}
        assert totals == {known: expected_score(one, here, everywhere) for known, here in everywhere.items()}


def test_names_without_a_tag_mean_the_latest():
    assert [full_name(image) for image in ("a", "a:1", "h:5000/a", "h:5000/a:1")] == [
        "a:latest",
        "a:1",
        "h:5000/a:latest",
        "h:5000/a:1",
    ]


def test_resource_claims_are_refused_with_their_names():
    one = builders.pod()
    profile = Profile(["x"], [PrioritySort(), UnsupportedClaims()])
    columns = Cluster().columns
    assert Compiled(profile, READER.read(one), columns).status is None
    one.spec.resource_claims = [PodResourceClaim(name="gpu")]
    reasons = Compiled(profile, READER.read(one), columns).status.reasons
    assert reasons == ("this scheduler does not support resource claims (spec.resourceClaims: gpu)",)
