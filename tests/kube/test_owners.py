from koordinator.api.registry import CONFIG_MAPS, RESERVATIONS
from koordinator.clock import ManualClock
from koordinator.kube import owners
from koordinator.kube.memory import MemoryStore


async def test_owners_are_added_replaced_and_removed():
    store = MemoryStore(ManualClock())
    boss = await store.create(RESERVATIONS, {"metadata": {"name": "boss"}, "spec": {}})
    helper = await store.create(CONFIG_MAPS, {"metadata": {"name": "helper"}}, "default")
    obj = await store.create(CONFIG_MAPS, {"metadata": {"name": "a"}}, "default")
    for reference in (
        owners.owner_reference(CONFIG_MAPS, helper),
        owners.owner_reference(RESERVATIONS, boss),
        owners.controller_reference(RESERVATIONS, boss),
    ):
        patch = {"metadata": {"ownerReferences": owners.with_owner(obj, reference)}}
        obj = await store.patch(CONFIG_MAPS, "a", patch, "default")
    assert [(one.kind, one.name, one.controller) for one in obj.metadata.owner_references] == [
        ("ConfigMap", "helper", None),
        ("Reservation", "boss", True),
    ]
    assert obj.owner.api_version == "scheduling.koordinator.sh/v1alpha1"
    assert owners.is_controlled_by(obj, boss)
    assert not owners.is_controlled_by(obj, helper)
    left = owners.without_owner(obj, helper.metadata.uid)
    obj = await store.patch(CONFIG_MAPS, "a", {"metadata": {"ownerReferences": left}}, "default")
    assert [one.name for one in obj.metadata.owner_references] == ["boss"]
