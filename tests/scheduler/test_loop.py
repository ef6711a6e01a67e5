"""The scheduling loop goes on, whatever breaks beside it."""

from scheduler.processes import running
from waiting import until


async def test_pauses_end_although_something_has_broken_while_time_went_on(apiserver, caplog):
    async with running(apiserver.client) as app:
        flush, calls = app.queue.flush, []

        def broken():
            calls.append(1)
            if len(calls) == 1:
                raise RuntimeError("a bug")
            flush()

        app.queue.flush = broken
        await until(lambda: len(calls) > 2)
    assert "the queue did not take notice of the time" in caplog.text
