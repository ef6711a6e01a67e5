"""Plugins' controllers: work that goes on beside scheduling, on the leader only. ``--controller-plugins`` says whose."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

from koordinator.clock import Clock
from koordinator.kube.retry import Backoff
from koordinator.scheduler.engine.hooks import ControllerPlugin
from koordinator.scheduler.engine.profile import Profile

log = logging.getLogger(__name__)

Controller = Callable[[], Awaitable[None]]
BACKOFF = Backoff(base=1.0, factor=2.0, limit=60.0)
STEADY_SECONDS = 60.0
"""After so long without a failure the next pause is the first again."""


def enabled(name: str, wanted: Sequence[str]) -> bool:
    """The first entry that names the plugin decides: ``Name`` yes, ``-Name`` no; else a ``*`` anywhere lets all in."""
    named = next((entry for entry in wanted if entry in (name, f"-{name}")), "*" if "*" in wanted else "-")
    return not named.startswith("-")


def controllers_of(profiles: Iterable[Profile], wanted: Sequence[str]) -> dict[str, Controller]:
    """By ``Plugin/controller``. A plugin in several profiles has its controllers once, those of the first."""
    found: dict[str, Controller] = {}
    seen: set[str] = set()
    for plugin in (plugin for profile in profiles for plugin in profile.plugins.values()):
        if isinstance(plugin, ControllerPlugin) and plugin.name not in seen:
            seen.add(plugin.name)
            if enabled(plugin.name, wanted):
                found |= {f"{plugin.name}/{name}": controller for name, controller in plugin.controllers().items()}
    return found


async def keep_running(name: str, controller: Controller, clock: Clock) -> None:
    """A controller that fails starts again after a pause; one that returns has done its work."""
    failures = 0
    while True:
        began = clock.monotonic()
        try:
            await controller()
        except Exception:
            log.exception("controller %s failed", name)
        else:
            return
        failures = 0 if clock.monotonic() - began > STEADY_SECONDS else failures
        await clock.sleep(BACKOFF.delay(failures))
        failures += 1
