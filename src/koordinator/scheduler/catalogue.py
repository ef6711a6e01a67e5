"""Every plugin that a configuration may name, and how it is made from its arguments.

To add one: write the plugin, give it an ``Entry`` here. Plugins of other packages come by the entry point group
``koordinator.scheduler.plugins``: the name is the plugin's, the object a class whose constructor takes ``(handle, args)``,
``(handle)`` or nothing.
"""

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from koordinator.errors import Unavailable
from koordinator.scheduler.config import args as wire
from koordinator.scheduler.config.args import KINDS, Kind
from koordinator.scheduler.engine.framework import Plugin
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.engine.pernode import adapted, is_per_node
from koordinator.scheduler.plugins import resources_fit_plus, scarce_resource_avoidance, scheduling_hint
from koordinator.scheduler.plugins.balanced_allocation import NodeResourcesBalancedAllocation
from koordinator.scheduler.plugins.default_binder import DefaultBinder
from koordinator.scheduler.plugins.default_pre_bind import DefaultPreBind
from koordinator.scheduler.plugins.default_preemption.plugin import DefaultPreemption
from koordinator.scheduler.plugins.dynamic_resources.plugin import DISABLED, DynamicResources
from koordinator.scheduler.plugins.dynamic_resources.unsupported import UnsupportedClaims
from koordinator.scheduler.plugins.image_locality import ImageLocality
from koordinator.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from koordinator.scheduler.plugins.load_aware import args as load_aware
from koordinator.scheduler.plugins.load_aware import figures as load_aware_figures
from koordinator.scheduler.plugins.load_aware.plugin import LoadAwareScheduling
from koordinator.scheduler.plugins.node_affinity import NodeAffinity
from koordinator.scheduler.plugins.node_name import NodeName
from koordinator.scheduler.plugins.node_ports import NodePorts
from koordinator.scheduler.plugins.node_unschedulable import NodeUnschedulable
from koordinator.scheduler.plugins.pod_topology_spread import PodTopologySpread
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.resources_fit import FitArgs, NodeResourcesFit, Point, ResourceWeight
from koordinator.scheduler.plugins.resources_fit_plus import NodeResourcesFitPlus
from koordinator.scheduler.plugins.scarce_resource_avoidance import ScarceResourceAvoidance
from koordinator.scheduler.plugins.scheduling_gates import SchedulingGates
from koordinator.scheduler.plugins.scheduling_hint import SchedulingHint
from koordinator.scheduler.plugins.taint_toleration import TaintToleration
from koordinator.scheduler.plugins.volumes.binding import VolumeBinding
from koordinator.scheduler.plugins.volumes.limits import NodeVolumeLimits
from koordinator.scheduler.plugins.volumes.restrictions import VolumeRestrictions
from koordinator.scheduler.plugins.volumes.zone import VolumeZone

log = logging.getLogger(__name__)

ENTRY_POINTS = "koordinator.scheduler.plugins"


class Entry(NamedTuple):
    """A plugin: its class, how it is made, and how its arguments are read (None: it gets them as they stand).

    ``reconfigure`` gives a running plugin new arguments; False, or None in its place, says that it takes a restart.
    """

    type: type[Plugin]
    make: Callable[[Handle, Any], Plugin]
    args: Kind | None = None
    reconfigure: Callable[[Any, Any], bool] | None = None


PLANNED = frozenset((*("NodeNUMAResource", "Reservation", "Coscheduling", "DeviceShare", "ElasticQuota"),))
"""Names that a configuration may use before the plugin is there: their arguments are validated, nothing runs."""


def _plain(type_: type[Plugin]) -> Entry:
    return Entry(type_, lambda _handle, _args: type_())


def _stateless(type_: type[Plugin], make: Callable[[Any], Plugin], args: Kind) -> Entry:
    """A plugin that remembers nothing but its arguments: it can be given others at any time."""

    def reconfigure(plugin: Plugin, new: Any) -> bool:
        meter = plugin.meter
        plugin.__dict__.clear()
        plugin.__dict__.update(make(new).__dict__)
        plugin.meter = meter
        return True

    return Entry(type_, lambda _handle, args: make(args), args, reconfigure)


def _fit(args: wire.NodeResourcesFitArgs) -> FitArgs:
    strategy = args.scoring_strategy or wire.ScoringStrategy()
    ratio = strategy.requested_to_capacity_ratio
    return FitArgs(
        strategy=strategy.type,
        resources=_weights(strategy.resources),
        shape=tuple(Point(point.utilization, point.score) for point in ratio.shape) if ratio is not None else (),
        ignored_resources=frozenset(args.ignored_resources or ()),
        ignored_groups=frozenset(args.ignored_resource_groups or ()),
    )


def _weights(resources: list[wire.ResourceSpec] | None) -> tuple[ResourceWeight, ...]:
    return tuple(ResourceWeight(one.name, one.weight) for one in resources or ())


def _load_aware(handle: Handle, args: Any) -> LoadAwareScheduling:
    plugin = LoadAwareScheduling(handle.cluster, handle.clock, args)
    load_aware_figures.show(handle, plugin)
    return plugin


BUILT: tuple[Entry, ...] = (
    _plain(SchedulingGates),
    _plain(PrioritySort),
    _plain(NodeUnschedulable),
    _plain(NodeName),
    _plain(TaintToleration),
    _stateless(NodeAffinity, lambda args: NodeAffinity(args.added_affinity), KINDS["NodeAffinity"]),
    _stateless(NodeResourcesFit, lambda args: NodeResourcesFit(_fit(args)), KINDS["NodeResourcesFit"]),
    _stateless(
        NodeResourcesBalancedAllocation,
        lambda args: NodeResourcesBalancedAllocation(_weights(args.resources)),
        KINDS["NodeResourcesBalancedAllocation"],
    ),
    Entry(
        LoadAwareScheduling,
        _load_aware,
        Kind(load_aware.LoadAwareArgs, load_aware.defaulted, load_aware.checked),
        lambda plugin, args: bool(plugin.reconfigure(args)),
    ),
    _stateless(
        NodeResourcesFitPlus,
        NodeResourcesFitPlus,
        Kind(resources_fit_plus.FitPlusArgs, checked=resources_fit_plus.checked),
    ),
    _stateless(
        ScarceResourceAvoidance,
        ScarceResourceAvoidance,
        Kind(scarce_resource_avoidance.ScarceArgs, checked=scarce_resource_avoidance.checked),
    ),
    _stateless(
        SchedulingHint,
        SchedulingHint,
        Kind(scheduling_hint.SchedulingHintArgs, checked=scheduling_hint.checked),
    ),
    Entry(DefaultPreBind, lambda handle, _: DefaultPreBind(handle.store, handle.clock)),
    Entry(DynamicResources, lambda handle, _: UnsupportedClaims() if DISABLED in handle.gates else DynamicResources(handle)),
    Entry(VolumeRestrictions, lambda handle, _: VolumeRestrictions(handle.cluster)),
    Entry(NodeVolumeLimits, lambda handle, _: NodeVolumeLimits(handle.cluster)),
    Entry(VolumeZone, lambda handle, _: VolumeZone(handle.cluster)),
    Entry(
        VolumeBinding,
        lambda handle, args: VolumeBinding(handle.cluster, handle.store, handle.clock, args.bind_timeout_seconds),
        KINDS["VolumeBinding"],
    ),
    Entry(NodePorts, lambda handle, _: NodePorts(handle.cluster)),
    Entry(ImageLocality, lambda handle, _: ImageLocality(handle.cluster)),
    Entry(PodTopologySpread, lambda handle, args: PodTopologySpread(handle.cluster, args), KINDS["PodTopologySpread"]),
    Entry(InterPodAffinity, lambda handle, args: InterPodAffinity(handle.cluster, args), KINDS["InterPodAffinity"]),
    Entry(
        DefaultPreemption,
        DefaultPreemption,
        KINDS["DefaultPreemption"],
        lambda plugin, args: bool(plugin.reconfigure(args)),
    ),
    Entry(DefaultBinder, lambda handle, _: DefaultBinder(handle.store)),
)

Catalogue = Mapping[str, Entry]


def built_in() -> dict[str, Entry]:
    return {entry.type.name: entry for entry in BUILT}


def with_entry_points() -> dict[str, Entry]:
    """Ours, and those that installed packages offer. Raises: Unavailable naming a package whose plugin cannot be loaded."""
    from importlib.metadata import entry_points

    found = built_in()
    for point in entry_points(group=ENTRY_POINTS):
        package = point.dist.name if point.dist is not None else "an installed package"
        try:
            entry = foreign(point.name, point.load())
        except Exception as err:
            raise Unavailable(
                f"plugin {point.name} of {package}", f"{type(err).__name__}: {err}", "repair or remove it"
            ) from err
        if point.name in found:
            log.warning("plugin %s of %s takes the place of ours", point.name, package)
        found[point.name] = entry
    return found


def foreign(name: str, type_: Any) -> Entry:
    """An entry for somebody else's class. Raises TypeError when it is no plugin."""
    if not isinstance(type_, type):
        raise TypeError(f"{type_!r} is not a class")
    if issubclass(type_, Plugin):
        native: type[Plugin] = type_
        _give_name(native, name)
        return Entry(native, lambda handle, args: _made(native, handle, args), _kind(native))
    if not is_per_node(type_):
        raise TypeError(f"{type_.__name__} has none of the hooks of a plugin")
    plugin = adapted(name, type_)
    return Entry(plugin, lambda handle, args: plugin(handle, _made(type_, handle, args)), _kind(type_))  # type: ignore[call-arg]


def _give_name(type_: type[Plugin], name: str) -> None:
    if not getattr(type_, "name", ""):
        type_.name = name


def _kind(type_: type[Any]) -> Kind | None:
    """A class that has ``Args`` (a msgspec.Struct) gets its arguments typed and validated."""
    args = getattr(type_, "Args", None)
    return Kind(args) if args is not None else None


def _made(type_: type[Any], handle: Handle, args: Any) -> Any:
    """Call the constructor with as much as it wants."""
    if type_.__init__ is object.__init__:
        return type_()
    wanted = [one for one in inspect.signature(type_).parameters.values() if one.default is one.empty]
    return type_(*(handle, args)[: len(wanted)])
