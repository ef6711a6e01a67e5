"""From a configuration to profiles: which plugins run, in their order and with their weights."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from koordinator.api.resources import BATCH_CPU, BATCH_MEMORY, CPU, MEMORY
from koordinator.clock import Clock
from koordinator.kube.store import Store
from koordinator.scheduler.catalogue import PLANNED, Catalogue, built_in
from koordinator.scheduler.config import multipoint
from koordinator.scheduler.config.args import require
from koordinator.scheduler.config.read import check
from koordinator.scheduler.config.types import Configuration, PluginConfig, PluginRef, Plugins, PluginSet, ProfileConfig
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.framework import POINTS, Plugin
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queued import Timings
from koordinator.scheduler.options import SchedulerOptions

log = logging.getLogger(__name__)

_CLASSES = {name: type_ for type_, name in POINTS.items()}
IDLE_AT = {
    "LoadAwareScheduling": ("reserve",),
    "NodeResourcesFit": ("pre_score",),
    "TaintToleration": ("pre_score",),
    "VolumeBinding": ("pre_score", "score"),
}
"""Where configurations may name a plugin though it has nothing to do there: the Go plugin of that name has."""


class Expanded(NamedTuple):
    """A profile's plugins by extension point, and their weights where they score."""

    points: dict[str, list[str]]
    weights: dict[str, int]

    @property
    def names(self) -> list[str]:
        """Every plugin that runs at some point, in the order of its first."""
        return list(dict.fromkeys(name for names in self.points.values() for name in names))


def expand(profile: ProfileConfig, catalogue: Catalogue, where: str = "") -> Expanded:
    """Raises: ConfigInvalid when a plugin is named where it does not run, or no plugin sorts or binds."""
    plugins = multipoint.with_defaults(profile.plugins)
    multi = plugins.multi_point.enabled or []
    points, weights = {}, {}
    for point in multipoint.POINTS:
        own: PluginSet = getattr(plugins, point)
        _check_extends(own.enabled or [], point, catalogue, where)
        refs = multipoint.expanded(multi, own, lambda name, point=point: implements(catalogue, name, point))  # type: ignore[misc]
        points[point] = [one.name for one in refs if implements(catalogue, one.name, point)]
        if point == "score":
            weights = {one.name: multipoint.score_weight(one, multi) for one in refs}
    require(len(points["queue_sort"]) == 1, f"{where}.plugins.queueSort", points["queue_sort"], "must be exactly one plugin")
    require(bool(points["bind"]), f"{where}.plugins.bind", points["bind"], "must be at least one plugin")
    return Expanded(points, weights)


def implements(catalogue: Catalogue, name: str, point: str) -> bool:
    return name in catalogue and issubclass(catalogue[name].type, _CLASSES[point])


def _check_extends(refs: Sequence[PluginRef], point: str, catalogue: Catalogue, where: str) -> None:
    for index, one in enumerate(refs):
        if one.name in catalogue and not implements(catalogue, one.name, point) and point not in IDLE_AT.get(one.name, ()):
            name = multipoint.wire_name(point)
            rule = f'plugin "{one.name}" does not extend {name} plugin'
            require(False, f"{where}.plugins.{name}.enabled[{index}].name", one.name, rule)


def make_profiles(configuration: Configuration, catalogue: Catalogue, handles: Sequence[Handle]) -> list[Profile]:
    """One profile an entry, each with plugins of its own; ``handles`` has one for each. Raises: ConfigInvalid."""
    arguments = check(configuration, catalogue)
    made = []
    for index, (profile, args, handle) in enumerate(zip(configuration.profiles, arguments, handles, strict=True)):
        where = f"profiles[{index}]"
        found = expand(profile, catalogue, where)
        _mention_planned(profile, catalogue)
        plugins = [_make(catalogue, name, handle, args) for name in found.names]
        made.append(Profile([profile.scheduler_name], plugins, found.weights, found.points))
        handle.topology.providers = made[-1].hint_providers
        handle.reservations.find(made[-1])
    return made


def _make(catalogue: Catalogue, name: str, handle: Handle, args: dict[str, Any]) -> Plugin:
    return catalogue[name].make(handle, args.get(name))


def _mention_planned(profile: ProfileConfig, catalogue: Catalogue) -> None:
    named = {one.name for point in multipoint.POINTS for one in getattr(profile.plugins or Plugins(), point).enabled or ()}
    for name in sorted(named & PLANNED - set(catalogue)):
        log.warning("profile %s: plugin %s is not there yet; the profile runs without it", profile.scheduler_name, name)


def timings_of(configuration: Configuration, options: SchedulerOptions) -> Timings:
    return Timings(
        initial_backoff=float(configuration.pod_initial_backoff_seconds),
        max_backoff=float(configuration.pod_max_backoff_seconds),
        max_unschedulable=options.max_unschedulable,
    )


# --- what runs without a configuration file -----------------------------------------------------------------------------


def shipped(name: str) -> ProfileConfig:
    """Kubernetes' default plugins and LoadAwareScheduling as our manifests configure it: usage counts in the score, keeps no
    pod off a node until somebody sets thresholds.
    """
    usage = [PluginRef(name="LoadAwareScheduling", weight=1)]
    resources = [{"name": one, "weight": 1} for one in (CPU, MEMORY, BATCH_CPU, BATCH_MEMORY)]
    return ProfileConfig(
        scheduler_name=name,
        plugins=Plugins(
            pre_filter=PluginSet(enabled=[PluginRef(name="SchedulingHint"), *usage]),
            filter=PluginSet(enabled=usage),
            score=PluginSet(enabled=usage),
        ),
        plugin_config=[
            PluginConfig(name="NodeResourcesFit", args={"scoringStrategy": {"type": "LeastAllocated", "resources": resources}}),
            PluginConfig(
                name="LoadAwareScheduling",
                args={
                    "filterExpiredNodeMetrics": False,
                    "nodeMetricExpirationSeconds": 300,
                    "resourceWeights": {CPU: 1, MEMORY: 1},
                    "usageThresholds": {CPU: 0, MEMORY: 0},
                    "estimatedScalingFactors": {CPU: 85, MEMORY: 70},
                },
            ),
        ],
    )


def shipped_configuration(names: Sequence[str]) -> Configuration:
    return Configuration(profiles=[shipped(name) for name in names])


def default_profile(names: tuple[str, ...], cluster: Cluster, store: Store, clock: Clock) -> Profile:
    """The shipped profile, for all these scheduler names at once."""
    handle = Handle(cluster, store, clock, names[0])
    profile = make_profiles(shipped_configuration(names[:1]), built_in(), [handle])[0]
    profile.names = tuple(names)
    return profile
