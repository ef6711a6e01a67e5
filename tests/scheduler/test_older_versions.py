"""Clusters that serve some kinds as v1beta1 only."""

import msgspec
import pytest

from koordinator.api.registry import CSI_STORAGE_CAPACITIES, POD_DISRUPTION_BUDGETS
from koordinator.clock import SystemClock
from koordinator.kube.errors import NotFound
from koordinator.kube.memory import MemoryStore
from koordinator.scheduler.app import App, SchedulerOptions
from koordinator.scheduler.engine.objects import Objects
from koordinator.scheduler.watching import served
from waiting import component

KINDS = {"CompatibleCSIStorageCapacity": CSI_STORAGE_CAPACITIES, "CompatiblePodDisruptionBudget": POD_DISRUPTION_BUDGETS}


class OldCluster(MemoryStore):
    """Serves the kinds above as v1beta1, and only so."""

    async def list(self, resource, *args, **kwargs):
        if (resource.plural in {one.plural for one in KINDS.values()}) != (resource.version == "v1beta1"):
            raise NotFound(404, "NotFound", "the server could not find the requested resource")
        return await super().list(resource, *args, **kwargs)


def test_gates_say_which_version_is_served():
    for gate, kind in KINDS.items():
        assert served(kind, frozenset()) is kind
        assert served(kind, frozenset((gate,))).path() == kind.path().replace("/v1/", "/v1beta1/")
        assert [served(other, frozenset((gate,))).version for other in KINDS.values() if other != kind] == ["v1"]


@pytest.mark.parametrize("disabled", [False, True])
async def test_an_old_cluster_is_understood_unless_the_kind_is_disabled(disabled):
    store = OldCluster(SystemClock(), create_namespaces=True)
    old = {gate: msgspec.structs.replace(kind, version="v1beta1") for gate, kind in KINDS.items()}
    budget = {
        "metadata": {"name": "b"},
        "spec": {"selector": {"matchLabels": {"app": "x"}}},
        "status": {"disruptionsAllowed": 1},
    }
    await store.create(old["CompatiblePodDisruptionBudget"], budget, "default")
    await store.create(old["CompatibleCSIStorageCapacity"], {"metadata": {"name": "c"}, "storageClassName": "s"}, "default")
    disabling = {"DisableCSIStorageCapacityInformer", "DisablePodDisruptionBudgetInformer"} if disabled else set()
    app = App(store, SchedulerOptions(gates=frozenset(KINDS.keys() | disabling)), SystemClock())
    async with component(app.run):
        budgets = app.profile.plugins["DefaultPreemption"]._budgets
        capacities = app.scheduler.cluster.shared(Objects).of(CSI_STORAGE_CAPACITIES).items
        assert (list(budgets), list(capacities)) == (([], []) if disabled else (["default/b"], ["default/c"]))
