"""A profile: which plugins run at which extension point, in which order, with which weights.

Plugins are sorted into their extension points once, here, so that a cycle only walks short lists.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from koordinator.scheduler.engine import framework as fw
from koordinator.scheduler.engine import hooks
from koordinator.scheduler.engine.events import Happening, Hint
from koordinator.scheduler.engine.pod import PodInfo

P = TypeVar("P", bound=fw.Plugin)


class _Signed(NamedTuple):
    """What a profile notes on a template. ``by``: plugins as they were then."""

    by: object
    signature: Hashable
    individual: tuple[Callable[[PodInfo], Hashable], ...]


class Profile:
    """The plugins that schedule the pods of one scheduler name (or of several that share everything)."""

    def __init__(
        self,
        names: Sequence[str],
        plugins: Sequence[fw.Plugin],
        weights: dict[str, int] | None = None,
        points: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """``points`` names the plugins of each extension point, in order; without it every plugin runs wherever it can."""
        self.names = tuple(names)
        self.points = points
        self.plugins = {plugin.name: plugin for plugin in plugins}
        weights = weights or {}
        self.queue_sort = self._one(fw.QueueSortPlugin)
        self.pre_enqueue = self._of(fw.PreEnqueuePlugin)
        self.gates_again = [plugin for plugin in self.pre_enqueue if not plugin.once]
        pre_filters = self._of(fw.PreFilterPlugin)
        self.pre_filters = [plugin for plugin in pre_filters if not plugin.per_pod]
        self.pod_checks = [plugin for plugin in pre_filters if plugin.per_pod]
        self.filters = self._of(fw.FilterPlugin)
        self.post_filters = self._of(fw.PostFilterPlugin)
        self.pre_scores = self._of(fw.PreScorePlugin)
        self._mine = object()
        """The key of our notes on templates."""
        self.set_weights(weights)
        self.reserves = self._of(fw.ReservePlugin)
        self.permits = self._of(fw.PermitPlugin)
        self.pre_binds = self._of(fw.PreBindPlugin)
        self.binds = self._of(fw.BindPlugin)
        self.post_binds = self._of(fw.PostBindPlugin)
        self.watchers = self._of(fw.WatchPlugin)
        self._find_hooks()
        self._alike = self._refusing_alike()
        self.hints = self._hints()
        self._signing = [plugin for plugin in plugins if type(plugin).signature is not fw.Plugin.signature]
        self._individual = [plugin for plugin in plugins if type(plugin).individual is not fw.Plugin.individual]

    def set_weights(self, weights: Mapping[str, int]) -> None:
        """Also forgets the signatures: what plugins read of a pod may have changed with their arguments."""
        self.scores = [(plugin, weights.get(plugin.name, 1)) for plugin in self._of(fw.ScorePlugin)]
        self._as_now = object()

    def _find_hooks(self) -> None:
        """Extension points of our own: plugins have them wherever they are enabled."""
        self.transformers = [one for one in self._of(fw.PreFilterPlugin) if isinstance(one, hooks.PreFilterTransformer)]
        self.score_transformers = [one for one in self._of(fw.ScorePlugin) if isinstance(one, hooks.ScoreTransformer)]
        self.after_post_filters = [one for one in self._of(fw.PostFilterPlugin) if isinstance(one, hooks.PostFilterTransformer)]
        self.views = self._of(hooks.ViewPlugin)
        self.finders = self._of(hooks.FindOneNodePlugin)[:1]
        self.preferers = self._of(hooks.PreferNodesPlugin)[:1]
        self.next_pods = self._of(hooks.NextPodPlugin)[:1]
        self.nominates = self._of(hooks.NominatePlugin)
        self.resizes = self._of(hooks.ResizePlugin)
        self.forgets = self._of(hooks.ForgetPlugin)
        self.error_handlers = self._of(hooks.ErrorHandler)
        self.hint_providers = self._of(hooks.HintProvider)
        self.pod_plugins = self._of(hooks.PodPlugin)
        self.starters = self._of(hooks.StartPlugin)
        self.patchers = [one for one in self.pre_binds if isinstance(one, hooks.ApplyPatchPlugin)]

    def _of(self, point: type[P]) -> list[P]:
        named = None if self.points is None else self.points.get(fw.POINTS.get(point, ""))
        chosen = self.plugins.values() if named is None else (self.plugins[name] for name in named if name in self.plugins)
        return [plugin for plugin in chosen if isinstance(plugin, point)]

    def _one(self, point: type[P]) -> P:
        found = self._of(point)
        if len(found) != 1:
            raise ValueError(f"a profile needs exactly one {point.__name__}, this has {len(found)}")
        return found[0]

    @property
    def name(self) -> str:
        return self.names[0]

    def signature(self, pod: PodInfo) -> Hashable:
        """Pods of equal signature get equal verdicts and scores on every node. Raises PluginFailed."""
        signed: _Signed | None = pod.template.notes.get(self._mine)
        if pod.pod.spec.node_name:  # the one thing in a spec that a template does not tell
            signed = self._signed(pod)
        elif signed is None or signed.by is not self._as_now:
            signed = pod.template.notes[self._mine] = self._signed(pod)
        if not signed.individual:
            return signed.signature
        try:
            return signed.signature, *[individual(pod) for individual in signed.individual]
        except Exception as err:
            raise self._culprit(pod, err) from err

    def _signed(self, pod: PodInfo) -> _Signed:
        """What the template tells."""
        try:
            asked = tuple(one.individual for one in self._individual if one.tells_apart(pod))
        except Exception as err:
            raise self._culprit(pod, err) from err
        return _Signed(self._as_now, self._sign(pod), asked)

    def _culprit(self, pod: PodInfo, error: Exception) -> fw.PluginFailed:
        """Which plugin it was that failed to tell pods apart."""
        for plugin in self._individual:
            try:
                _ = plugin.tells_apart(pod) and plugin.individual(pod)
            except Exception:  # noqa: BLE001 — to be named, not to be handled
                return fw.PluginFailed(plugin.name, "PreFilter", error)
        return fw.PluginFailed(self._individual[0].name, "PreFilter", error)

    def _sign(self, pod: PodInfo) -> Hashable:
        signed: list[Hashable] = []
        for plugin in self._signing:
            try:
                signed.append(plugin.signature(pod))
            except Exception as err:
                raise fw.PluginFailed(plugin.name, "PreFilter", err) from err
        return tuple(signed)

    def _hints(self) -> dict[str, list[tuple[int, Hint | None]]]:
        """Per plugin the events that may let a refused pod in."""
        return {name: list(plugin.events()) for name, plugin in self.plugins.items()}

    def group(self, pod: PodInfo, rejected_by: frozenset[str]) -> Hashable:
        """Equal for refused pods that would be refused together, now and later.

        None for a pod that waits alone: it was refused by a plugin that looks at single pods.
        """
        if not self._alike or not rejected_by or not rejected_by <= self._alike:
            return None
        return self, self.signature(pod), pod.priority

    def _refusing_alike(self) -> frozenset[str]:
        """Plugins that can only have refused a pod by what its signature tells."""
        if self.transformers or self.views or self.finders:
            return frozenset()
        at_filter = {plugin.name for plugin in (*self.pre_filters, *self.filters)}
        reserves = [plugin for plugin in self.reserves if not plugin.like_filter]
        single = (*self.pod_checks, *reserves, *self.permits, *self.nominates, *self.resizes)
        return frozenset(at_filter - {plugin.name for plugin in single})

    def concerned_by(self, plugins: frozenset[str]) -> int:
        """Union of the event kinds that may let in a pod refused by these plugins."""
        kinds = 0
        for name in plugins:
            for registered, _ in self.hints.get(name, ()):
                kinds |= registered
        return kinds or Happening.ANYTHING
