"""Full collections wait for quiet moments, and do come."""

import asyncio
import contextlib
import gc

import pytest

from koordinator.clock import ManualClock
from koordinator.kube import pauses
from waiting import until


@pytest.fixture(autouse=True)
def collector():
    """As it was before."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_after_settling_no_full_collection_starts_by_itself():
    pauses.settle()
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold()[2] > 10**6


@pytest.mark.parametrize(
    ("quiet", "seconds", "collects"), [(True, 29, False), (True, 31, True), (False, 31, False), (False, 601, True)]
)
async def test_a_full_collection_waits_for_quiet_but_not_for_ever(quiet, seconds, collects):
    clock, full = ManualClock(), []

    def count(phase, info):
        if phase == "stop" and info["generation"] == 2:
            full.append(1)

    gc.callbacks.append(count)
    task = asyncio.create_task(pauses.collect_when_quiet(clock, lambda: quiet))
    try:
        await asyncio.sleep(0)
        clock.advance(seconds)
        if collects:
            await until(lambda: full)
        else:
            for _ in range(20):
                await asyncio.sleep(0)
            assert not full
    finally:
        task.cancel()
        gc.callbacks.remove(count)
        with contextlib.suppress(asyncio.CancelledError):
            await task
