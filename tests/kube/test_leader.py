import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koordinator.api.registry import LEASES
from koordinator.clock import ManualClock
from koordinator.errors import ConfigInvalid
from koordinator.kube.errors import Conflict
from koordinator.kube.leader import LeaderElector, LeadershipLost, LeaseTimes, make_identity
from kube.memory_store import MemoryStore

KEY = ("koordinator-system", "koord-scheduler")


class Candidate:
    """A replica: its connection, its elector, and whether it acts as leader."""

    def __init__(self, store, clock, identity):
        self.view = store.view()
        self.elector = LeaderElector(self.view, *KEY, identity, clock)
        self.acting = False
        self.task = asyncio.create_task(self.elector.run(self.lead))

    async def lead(self):
        self.acting = True
        try:
            await asyncio.Event().wait()
        finally:
            self.acting = False

    async def stop(self):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, LeadershipLost):
            await self.task


@pytest.fixture
async def world():
    clock, store, candidates = ManualClock(), MemoryStore(), []

    def candidate(identity):
        candidates.append(Candidate(store, clock, identity))
        return candidates[-1]

    yield clock, store, candidate
    for one in candidates:
        await one.stop()


def lease(store):
    return store.decoded(LEASES, KEY).spec


async def test_the_first_leads_the_second_stands_by_and_takes_over_a_dead_leaders_lease(world):
    clock, store, candidate = world
    first = candidate("a")
    await clock.run(1)
    assert first.acting
    assert (lease(store).holder_identity, lease(store).lease_duration_seconds, lease(store).lease_transitions) == ("a", 15, 0)
    second = candidate("b")
    await clock.run(60)
    assert first.acting
    assert not second.acting
    assert second.elector.holder == "a"
    first.view.down = True
    await clock.run(9.9)
    assert not second.acting
    await clock.run(15)
    assert second.acting
    assert not first.acting
    assert (lease(store).holder_identity, lease(store).lease_transitions) == ("b", 1)


async def test_a_leader_that_cannot_renew_stops_before_its_lease_ends(world):
    clock, _, candidate = world
    first = candidate("a")
    await clock.run(1)
    first.view.down = True
    await clock.run(8.9)
    assert first.acting
    await clock.run(0.2)
    assert not first.acting
    with pytest.raises(LeadershipLost, match="could not be renewed"):
        await first.task


async def test_a_short_outage_costs_nothing(world):
    clock, store, candidate = world
    first = candidate("a")
    await clock.run(1)
    before = lease(store)
    first.view.down = True
    await clock.run(6)
    first.view.down = False
    await clock.run(30)
    assert first.acting
    assert lease(store).acquire_time == before.acquire_time
    assert lease(store).renew_time > before.renew_time
    assert not first.elector.stale()


async def test_a_cancelled_leader_gives_the_lease_back(world):
    clock, store, candidate = world
    first, second = candidate("a"), candidate("b")
    await clock.run(5)
    assert first.acting
    await first.stop()
    assert lease(store).holder_identity == ""
    await clock.run(5)
    assert second.acting


async def test_of_two_that_read_the_same_lease_one_wins(world):
    clock, _, candidate = world
    first, second = candidate("a"), candidate("b")
    await clock.run(10)
    assert [first.acting, second.acting] == [True, False]


async def test_a_conflict_is_one_failed_attempt(world):
    clock, _, candidate = world
    first = candidate("a")
    await clock.run(1)
    first.view.failures = [Conflict(409, "Conflict", "somebody wrote")]
    await clock.run(30)
    assert first.acting


async def test_what_the_leading_function_returns_or_raises_ends_the_run():
    store, clock = MemoryStore(), ManualClock()

    async def bug():
        raise ValueError("bug")

    async def done():
        return

    with pytest.raises(ValueError, match="bug"):
        await LeaderElector(store.view(), *KEY, "a", clock).run(bug)
    assert lease(store).holder_identity == ""
    await LeaderElector(store.view(), *KEY, "a", clock).run(done)


@pytest.mark.parametrize("times", [LeaseTimes(lease_duration=10), LeaseTimes(renew_deadline=2)])
def test_times_that_allow_two_leaders_are_refused(times):
    with pytest.raises(ConfigInvalid, match="leaderElection"):
        times.check()


def test_identities_differ():
    assert make_identity() != make_identity()


@pytest.mark.slow
@settings(max_examples=60)
@given(script=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["cut", "heal"]), st.floats(0.1, 20)), max_size=12))
async def test_there_are_never_two_leaders_and_there_is_one_again_when_all_is_well(script):
    clock, store = ManualClock(), MemoryStore()
    candidates = [Candidate(store, clock, name) for name in "abc"]

    async def pass_time(seconds):
        while seconds > 0:
            await clock.run(min(seconds, 0.5))
            assert sum(one.acting for one in candidates) <= 1
            seconds -= 0.5
            for index, one in enumerate(candidates):
                if one.task.done():  # it lost and its process was started again
                    await one.stop()
                    candidates[index] = restarted = Candidate(store, clock, one.elector.identity)
                    restarted.view.down = one.view.down

    for who, what, seconds in script:
        candidates[who].view.down = what == "cut"
        await pass_time(seconds)
    for one in candidates:
        one.view.down = False
    await pass_time(40)
    assert sum(one.acting for one in candidates) == 1
    for one in candidates:
        await one.stop()
