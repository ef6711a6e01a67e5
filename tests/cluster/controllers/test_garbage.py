from cluster.controllers.workloads import NOW, meta, pod, replica_set
from koordinator.api.meta import OwnerReference, format_time
from koordinator.api.registry import PODS
from koordinator.cluster.controllers.changes import Delete, Patch
from koordinator.cluster.controllers.garbage import FOREGROUND, ORPHAN, Item, collect, release
from koordinator.cluster.controllers.objects import REPLICA_SETS

OWNER = replica_set()


def item(obj):
    return Item(PODS if obj.__class__.__name__ == "Pod" else REPLICA_SETS, obj)


def going(*finalizers):
    owner = replica_set(deleting=True)
    owner.metadata.finalizers = list(finalizers)
    return owner


def blocking(name, owner):
    dependent = pod(name, owner)
    dependent.metadata.owner_references[0].block_owner_deletion = True
    return dependent


def test_what_has_no_owners_or_a_living_one_stays():
    assert collect(item(pod("free")), {}, []) == []
    assert collect(item(pod("held", OWNER)), {OWNER.metadata.uid: OWNER}, []) == []


def test_what_lost_its_only_owner_goes():
    (change,) = collect(item(pod("p", OWNER)), {OWNER.metadata.uid: None}, [])
    assert (type(change), change.name, change.uid) == (Delete, "p", "uid-p")


def test_what_has_another_owner_keeps_only_that_one():
    shared = pod("p", OWNER)
    shared.metadata.owner_references.append(OwnerReference(kind="ReplicaSet", name="gone", uid="uid-gone"))
    (change,) = collect(item(shared), {OWNER.metadata.uid: OWNER, "uid-gone": None}, [])
    assert [ref["uid"] for ref in change.body["metadata"]["ownerReferences"]] == [OWNER.metadata.uid]


def test_what_is_going_already_is_left_to_go():
    assert collect(item(pod("p", OWNER, deleting=True)), {OWNER.metadata.uid: None}, []) == []


def test_in_the_foreground_dependents_go_first_theirs_before_them():
    owner = going(FOREGROUND)
    middle = replica_set("middle", owner=owner)
    assert [type(c) for c in collect(item(middle), {owner.metadata.uid: owner}, [item(pod("leaf", middle))])] == [Patch, Delete]
    assert [type(c) for c in collect(item(pod("p", owner)), {owner.metadata.uid: owner}, [])] == [Delete]


def test_an_owner_in_the_foreground_waits_for_those_that_block_it():
    owner = going(FOREGROUND, "else/where")
    assert release(item(owner), [item(blocking("p", owner))]) == []
    (change,) = release(item(owner), [item(pod("p", owner))])
    assert change.body["metadata"]["finalizers"] == ["else/where"]
    assert change.body["metadata"]["resourceVersion"]


def test_an_orphaning_owner_lets_its_dependents_go_before_itself():
    owner = going(ORPHAN)
    freed, itself = release(item(owner), [item(pod("p", owner))])
    assert freed.body["metadata"]["ownerReferences"] == []
    assert itself.body["metadata"]["finalizers"] == []


def test_an_owner_that_is_not_going_is_not_released():
    owner = replica_set()
    owner.metadata = meta("web", finalizers=[FOREGROUND], creation_timestamp=format_time(NOW))
    assert release(item(owner), []) == []
