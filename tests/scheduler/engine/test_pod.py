import weakref

import pytest

from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.pod import SCHEDULER_NAME_LABEL, PodReader, scheduler_name
from scheduler.builders import READER, info, node, pod


def test_pods_that_differ_only_in_name_node_and_foreign_labels_share_a_template():
    reader = PodReader()
    first = reader.read(pod(cpu="1", labels={"index": "1"}))
    assert reader.read(pod(cpu="1", labels={"index": "2"}, node_name="n7")).template is first.template
    assert reader.read(pod(cpu="2")).template is not first.template
    assert reader.read(pod(cpu="1", labels={"koordinator.sh/qosClass": "BE"})).template is not first.template


def test_a_template_stays_as_long_as_somebody_has_it_however_many_there_are():
    reader = PodReader(remembered=1)
    first = reader.read(pod(cpu="1")).template
    reader.read(pod(cpu="2"))
    assert reader.read(pod(cpu="1")).template is first


def test_a_template_that_nobody_has_any_more_is_forgotten_after_some_others():
    reader = PodReader(remembered=1)
    first = weakref.ref(reader.read(pod(cpu="1")).template)
    assert first() is not None
    reader.read(pod(cpu="2"))
    assert first() is None


def test_a_pod_that_is_seen_again_is_no_news_though_many_others_are_unlike_it():
    reader, cluster = PodReader(remembered=1), Cluster()
    cluster.set_node(node("a"))
    one, other = pod(cpu="1"), pod(cpu="2")
    assert all(cluster.place(reader.read(each), "a") for each in (one, other))
    assert not any(cluster.place(reader.read(each), "a") for each in (one, other))


def test_scores_count_what_a_container_does_not_mention():
    assert info().template.nonzero == {"pods": 1, "cpu": 100, "memory": 200 * 2**20}
    assert info(cpu="0").template.nonzero == {"pods": 1, "cpu": 0, "memory": 200 * 2**20}


def test_a_bad_quantity_is_named():
    with pytest.raises(ValueError, match="cpu: 'one' is not a quantity"):
        READER.read(pod(cpu="one"))


@pytest.mark.parametrize(
    ("labels", "spec", "name"),
    [
        (None, "", "default-scheduler"),
        (None, "mine", "mine"),
        ({SCHEDULER_NAME_LABEL: "other"}, "mine", "other"),
        ({SCHEDULER_NAME_LABEL: ""}, "mine", ""),
    ],
)
def test_the_label_wins_over_the_spec(labels, spec, name):
    assert scheduler_name(pod(labels=labels, scheduler_name=spec)) == name
