import asyncio
import itertools
import random

import pytest

from koordinator.clock import ManualClock
from koordinator.errors import KoordError
from koordinator.kube.workqueue import WorkQueue
from kube.fake_server import FastClock, until
from waiting import background


def working(queue, reconcile, workers=1):
    return background(queue.run(reconcile, workers))


async def test_a_key_waits_once():
    done = []
    queue = WorkQueue("test", ManualClock())

    async def reconcile(key):
        done.append(key)

    for key in "abab":
        queue.add(key)
    assert len(queue) == 2
    async with working(queue, reconcile):
        await until(lambda: queue.idle)
    assert done == ["a", "b"]


async def test_a_key_added_while_it_is_worked_on_is_worked_on_again_never_in_parallel():
    busy, rounds, worst = {}, {}, [0]
    queue = WorkQueue("test", ManualClock())

    async def reconcile(key):
        busy[key] = busy.get(key, 0) + 1
        worst[0] = max(worst[0], busy[key])
        rounds[key] = rounds.get(key, 0) + 1
        await asyncio.sleep(0)
        busy[key] -= 1

    async with working(queue, reconcile, workers=4):
        for _ in range(300):
            queue.add(random.choice("ab"))
            await asyncio.sleep(0)
        await until(lambda: queue.idle)
    assert worst == [1]
    assert min(rounds.values()) > 20


async def test_a_failure_is_tried_again_later_and_holds_up_nobody(caplog):
    done = []
    queue = WorkQueue("test", FastClock())

    async def reconcile(key):
        if key == "bad" and len(done) < 3:
            raise KoordError("no luck")
        done.append(key)

    for key in ("bad", "a", "b"):
        queue.add(key)
    async with working(queue, reconcile):
        await until(lambda: len(done) == 2)
        queue.add("c")
        await until(lambda: "bad" in done)
    assert done[:3] == ["a", "b", "c"]
    assert "test: bad failed (1 in a row): no luck" in caplog.text


async def test_pauses_grow_with_failures_and_start_afresh_after_a_success():
    clock, times = ManualClock(), []
    queue = WorkQueue("test", clock)

    async def reconcile(_):
        times.append(clock.monotonic())
        if len(times) != 6:
            raise ValueError("bug")

    queue.add("key")
    async with working(queue, reconcile):
        await clock.run(100)
        queue.add("key")
        await clock.run(0.06)
    gaps = [after - before for before, after in itertools.pairwise(times[:6])]
    assert gaps[4] > 4 * gaps[0]
    assert len(times) == 8, "after a success the first pause is short again"


async def test_a_reconciler_may_ask_for_another_time_and_the_earliest_counts():
    clock, times = ManualClock(), []
    queue = WorkQueue("test", clock)

    async def reconcile(_):
        times.append(clock.monotonic())
        return 10.0

    queue.add("key")
    async with working(queue, reconcile):
        await clock.run(5)
        queue.add_after("key", 2)
        queue.add_after("key", 3)
        await clock.run(10)
    assert times == pytest.approx([0, 7])
