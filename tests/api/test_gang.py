import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api import gang, keys
from koordinator.api.annotations import Malformed
from koordinator.api.core import Pod
from koordinator.api.meta import ObjectMeta


def pod(labels=None, annotations=None):
    return Pod(metadata=ObjectMeta(name="p", namespace="d", labels=labels, annotations=annotations))


@pytest.mark.parametrize(
    ("labels", "annotations", "name"),
    [
        ({}, {}, ""),
        ({keys.POD_GROUP: "a", keys.DEPRECATED_POD_GROUP: "b"}, {keys.GANG_NAME: "c"}, "a"),
        ({keys.POD_GROUP: "", keys.DEPRECATED_POD_GROUP: "b"}, {keys.GANG_NAME: "c"}, "b"),
        ({}, {keys.GANG_NAME: "c"}, "c"),
    ],
)
def test_the_first_name_that_is_not_empty(labels, annotations, name):
    assert gang.gang_name(pod(labels, annotations)) == name


def test_min_available():
    assert gang.min_available(pod(annotations={keys.GANG_MIN_AVAILABLE: "3"})) == 3
    assert gang.min_available(pod({keys.DEPRECATED_POD_GROUP_MIN_AVAILABLE: "2"}, {keys.GANG_MIN_AVAILABLE: "3"})) == 2
    assert gang.min_available(pod({keys.DEPRECATED_POD_GROUP_MIN_AVAILABLE: ""}, {keys.GANG_MIN_AVAILABLE: "3"})) == 3
    assert isinstance(gang.min_available(pod(annotations={keys.GANG_MIN_AVAILABLE: "many"})), Malformed)
    assert gang.min_available(pod()) is None


@pytest.mark.parametrize(("text", "total"), [("5", 5), ("1", 3), ("", 3), ("x", 3), (None, 3)])
def test_total_number_is_at_least_the_minimum(text, total):
    assert gang.total_number({} if text is None else {keys.GANG_TOTAL_NUMBER: text}, 3) == total


@pytest.mark.parametrize(
    ("annotations", "policy"),
    [
        ({}, "once-satisfied"),
        ({keys.GANG_MATCH_POLICY: "only-waiting"}, "only-waiting"),
        ({keys.GANG_MATCH_POLICY: "odd", keys.POD_GROUP_MATCH_POLICY: "only-waiting"}, "once-satisfied"),
        ({keys.GANG_MATCH_POLICY: "", keys.POD_GROUP_MATCH_POLICY: "waiting-and-running"}, "waiting-and-running"),
    ],
)
def test_match_policy(annotations, policy):
    assert gang.match_policy(annotations) == policy


@pytest.mark.parametrize(
    ("text", "ids"), [('["d/b","d/a"]', ["d/b", "d/a"]), ("[]", ["d/me"]), ("{}", ["d/me"]), ("x", ["d/me"]), ("[1]", ["d/me"])]
)
def test_groups(text, ids):
    assert gang.groups({keys.GANG_GROUPS: text}, "d/me") == ids


@given(st.lists(st.text(min_size=1)))
def test_the_groups_id_does_not_depend_on_the_order(ids):
    assert gang.group_id(ids) == gang.group_id(ids[::-1])


def test_pods_with_an_index_come_first_in_order():
    pods = [("b", -1), ("c", 2), ("a", -1), ("e", 2), ("d", 0)]
    assert [name for name, _ in sorted(pods, key=lambda one: gang.order_key(one[1], one[0]))] == ["d", "c", "e", "a", "b"]


@pytest.mark.parametrize(("text", "nanoseconds"), [("10m", 600 * 10**9), ("-1s", None), ("30", None), ("", None)])
def test_waiting_time(text, nanoseconds):
    found = gang.WAITING_TIME.read({keys.GANG_WAITING_TIME: text})
    assert isinstance(found, Malformed) if nanoseconds is None else found == nanoseconds
