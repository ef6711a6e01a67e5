"""Names that want work: gathered, retried, remembered for later."""

import asyncio
import contextlib

import pytest

from koordinator.clock import ManualClock
from koordinator.manager.controllers.passes import PassQueue
from waiting import until


@pytest.fixture
async def passes():
    """A queue on a clock that we move, and the passes it made."""
    clock, made = ManualClock(), []
    queue = PassQueue(clock)
    queue.clock, queue.failing = clock, set()

    async def work(names):
        made.append(set(names))
        if "bug" in names:
            raise RuntimeError("bug")
        return names & queue.failing

    task = asyncio.create_task(queue.serve(work))
    await clock.run(0)
    yield queue, made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_what_comes_within_a_moment_is_one_pass(passes):
    queue, made = passes
    for name in ("a", "b", "a"):
        queue.mark(name)
    await queue.clock.run(1)
    assert made == [{"a", "b"}]


async def test_what_failed_comes_again_after_a_pause_and_then_no_more(passes):
    queue, made = passes
    queue.failing.add("a")
    queue.mark_all(["a", "b"])
    await queue.clock.run(0.1)
    assert made == [{"a", "b"}]
    queue.failing.clear()
    await queue.clock.run(60)
    assert made == [{"a", "b"}, {"a"}]


async def test_a_bug_in_a_pass_is_not_the_end(passes, caplog):
    queue, made = passes
    queue.mark("bug")
    await queue.clock.run(0.1)
    assert "failed" in caplog.text
    queue.mark("a")
    await queue.clock.run(0.1)
    assert {"a"} in made


async def test_later_comes_when_due_and_the_last_word_counts(passes):
    queue, made = passes
    now = queue.clock.now()
    queue.later("a", now + 10)
    queue.later("a", now + 20)
    queue.later("b", now + 5)
    queue.forget("b")
    await queue.clock.run(19)
    assert made == []
    await queue.clock.run(2)
    assert made == [{"a"}]


async def test_an_earlier_later_wakes_the_sleeper(passes):
    queue, made = passes
    queue.later("a", queue.clock.now() + 1000)
    await queue.clock.run(1)
    queue.later("b", queue.clock.now() + 10)
    await queue.clock.run(11)
    assert made == [{"b"}]


async def test_what_waits_and_what_is_worked_on_is_counted():
    clock = ManualClock()
    queue = PassQueue(clock, gather=1.0)
    at_work, go_on = asyncio.Event(), asyncio.Event()

    async def work(names):
        at_work.set()
        await go_on.wait()
        return names

    serving = asyncio.create_task(queue.serve(work))
    for name in ("a", "b", "a"):
        queue.mark(name)
    assert (len(queue), queue.metrics.adds, queue.running()) == (2, 2, [])
    await clock.run(1.0)
    await at_work.wait()
    clock.advance(3.0)
    assert queue.running() == [3.0, 3.0]
    go_on.set()
    await until(lambda: queue.metrics.retries == 2)
    assert [total for _, _, total in queue.metrics.wait.rows()] == [2.0]
    assert [total for _, _, total in queue.metrics.work.rows()] == [6.0]
    serving.cancel()
