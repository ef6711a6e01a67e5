"""After an outage the list is not waited for twice: the pauses were for a server that did not answer, and now it does."""

import asyncio

import pytest

from koordinator.api.registry import CONFIG_MAPS
from koordinator.clock import ManualClock
from koordinator.kube.errors import Gone
from koordinator.kube.informer import Informer, Listing, Watching


class Forgetful:
    """A store that remembers no history."""

    async def watch(self, resource, namespace="", **options):
        raise Gone(410, "Expired", "too old resource version")
        yield


async def test_the_first_410_after_failures_is_followed_by_a_list_at_once():
    informer = Informer(Forgetful(), CONFIG_MAPS, clock=ManualClock())
    async with asyncio.timeout(5):
        assert await informer.step(Watching("5", failures=6)) == Listing(1)


async def test_a_second_410_in_a_row_waits():
    informer = Informer(Forgetful(), CONFIG_MAPS, clock=ManualClock())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await informer.step(Watching("5", failures=1, fresh=True))
