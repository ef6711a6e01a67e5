"""A changed configuration file is taken up while the scheduler runs, as far as that is safe: weights, thresholds, pauses.

What decides who runs where (plugins, profiles, extenders, election) needs a restart; the log says which field it was. A file
that does not pass its checks changes nothing.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from koordinator.errors import KoordError
from koordinator.scheduler.config.read import Reading, read_file
from koordinator.scheduler.config.types import Configuration
from koordinator.scheduler.engine.framework import Plugin
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.explain.sampling import percentages
from koordinator.scheduler.profiles import Expanded, expand, timings_of

if TYPE_CHECKING:
    from koordinator.scheduler.app import App

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
_TIMINGS = ("pod_initial_backoff_seconds", "pod_max_backoff_seconds")
_MEANINGLESS = ("parallelism", "percentage_of_nodes_to_score", "enable_profiling", "enable_contention_profiling")


async def reloading(app: "App") -> None:
    """Look at the file every few seconds, until cancelled. A ConfigMap volume changes it by swapping a link."""
    if not app.options.config:
        return
    path = Path(app.options.config)
    seen = _text(path)
    while True:
        await app.clock.sleep(LOOK_SECONDS)
        text = _text(path)
        if text is not None and text != seen:
            seen = text
            take_up(app)


def _text(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def take_up(app: "App") -> list[str]:
    """Apply what the file says now; the fields that changed but need a restart."""
    try:
        new = read_file(app.options.config, app.catalogue)
        plugins = [expand(one, app.catalogue, f"profiles[{at}]") for at, one in enumerate(new.configuration.profiles)]
    except KoordError as err:
        log.error("%s has changed and is not taken up: %s", app.options.config, err)  # noqa: TRY400 — no traceback for users
        return []
    later = _apply(app, new, plugins)
    app.reading = new
    for field in later:
        log.warning("%s: %s has changed; it counts after a restart", app.options.config, field)
    log.info("%s has changed and is taken up", app.options.config)
    return later


def _apply(app: "App", new: Reading, plugins: Sequence[Expanded]) -> list[str]:
    """Bring the running scheduler in line; the fields that could not be."""
    old = app.reading
    later = _other_fields(old.configuration, new.configuration)
    app.queue.timings = timings_of(new.configuration, app.options)
    app.explainer.percentages = percentages(new.configuration)
    before = {one.scheduler_name: args for one, args in zip(old.configuration.profiles, old.args, strict=True)}
    for index, (profile, expanded) in enumerate(zip(new.configuration.profiles, plugins, strict=True)):
        where, running = f"profiles[{index}]", app.scheduler.profiles.get(profile.scheduler_name)
        if running is None:
            later.append(where)
            continue
        if running.points != expanded.points:
            later.append(f"{where}.plugins")
        running.set_weights(expanded.weights)
        refused = _configure(app, running, before.get(profile.scheduler_name, {}), new.args[index])
        later += [f"{where}.pluginConfig: {name}" for name in refused]
        app.scheduler.forget_evaluations(running)
    return later


def _configure(app: "App", running: Profile, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Hand changed arguments to the plugins; the names of those that cannot take them while they run."""
    refused = []
    for name, plugin in running.plugins.items():
        if not _same(old.get(name), new.get(name)) and not _reconfigured(app, plugin, new.get(name)):
            refused.append(name)
            new[name] = old.get(name)
    return refused


def _reconfigured(app: "App", plugin: Plugin, args: Any) -> bool:
    reconfigure = app.catalogue[plugin.name].reconfigure
    try:
        return reconfigure is not None and reconfigure(plugin, args)
    except Exception:  # the plugin's bug: others get their arguments all the same
        log.exception("plugin %s did not take its new arguments", plugin.name)
        return False


def _same(one: Any, other: Any) -> bool:
    return bool(msgspec.to_builtins(one) == msgspec.to_builtins(other))


def _other_fields(old: Configuration, new: Configuration) -> list[str]:
    names = (
        field for field in msgspec.structs.fields(Configuration) if field.name not in (*_TIMINGS, *_MEANINGLESS, "profiles")
    )
    changed = [field.encode_name for field in names if not _same(getattr(old, field.name), getattr(new, field.name))]
    gone = {one.scheduler_name for one in old.profiles} - {one.scheduler_name for one in new.profiles}
    return [*changed, *(f"profiles: {name}" for name in sorted(gone))]
