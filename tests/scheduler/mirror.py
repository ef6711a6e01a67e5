"""An API server's truth in a dictionary, and schedulers that learn of it as informers would tell them: late, or in lists."""

import itertools

import numpy as np

from koordinator.api.registry import NODES, PODS
from koordinator.clock import ManualClock
from koordinator.kube.cache import Cache
from koordinator.scheduler.catalogue import built_in
from koordinator.scheduler.config.read import read
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.evaluate import Evaluation, Evaluator
from koordinator.scheduler.engine.framework import FilterPlugin, PluginFailed, ScorePlugin, Status
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.engine.objects import Objects
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.feed import Feed
from koordinator.scheduler.metrics import Metrics
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.profiles import make_profiles
from koordinator.scheduler.report import Reporter

EVERY_PLUGIN = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: koord-scheduler
  plugins:
    multiPoint:
      enabled:
      - {name: LoadAwareScheduling}
      - {name: NodeResourcesFitPlus, weight: 2}
      - {name: ScarceResourceAvoidance, weight: 2}
      - {name: SchedulingHint}
  pluginConfig:
  - name: LoadAwareScheduling
    args:
      filterExpiredNodeMetrics: true
      nodeMetricExpirationSeconds: 300
      usageThresholds: {cpu: 60}
      prodUsageThresholds: {cpu: 40}
      allowCustomizeEstimation: true
  - name: NodeResourcesFitPlus
    args: {resources: {cpu: {type: MostAllocated, weight: 1}, nvidia.com/gpu: {type: LeastAllocated, weight: 2}}}
  - name: ScarceResourceAvoidance
    args: {resources: [nvidia.com/gpu]}
"""


class Quiet:
    """A recorder that keeps what it was told."""

    pending = False

    def __init__(self):
        self.seen = []

    def event(self, obj, type_, reason, message):
        self.seen.append((obj.kind, obj.key, type_, reason, message))


class Truth:
    """Objects by kind and key. Every change gives the object a new version."""

    def __init__(self):
        self.objects = {}
        self._versions = itertools.count(1)

    def of(self, plural):
        return self.objects.setdefault(plural, {})

    def set(self, plural, obj):
        obj.metadata.resource_version = str(next(self._versions))
        if not obj.metadata.uid:
            obj.metadata.uid = f"{plural}-{obj.metadata.resource_version}"
        self.of(plural)[obj.key] = obj
        return obj

    def delete(self, plural, key):
        return self.of(plural).pop(key, None)


class Follower:
    """A scheduler with every plugin, whose informers can be cut off kind by kind and list again when they are back."""

    def __init__(self, truth, clock=None, configuration=EVERY_PLUGIN, more=()):
        """``more``: entries of further plugins."""
        self.truth, self.clock, self.events = truth, clock or ManualClock(), Quiet()
        self.cluster = Cluster()
        self.reporter = Reporter(None, self.events, self.clock, Metrics())
        self.queue = SchedulingQueue(self.clock.monotonic)
        catalogue = built_in() | {one.type.name: one for one in more}
        configured = read(configuration, catalogue).configuration
        handles = [Handle(self.cluster, None, self.clock, one.scheduler_name) for one in configured.profiles]
        self.profiles = make_profiles(configured, catalogue, handles)
        self.profile = self.profiles[0]
        self.scheduler = Scheduler(self.cluster, self.queue, self.profiles, self.reporter, seed=1)
        for handle in handles:
            handle.recorder, handle.queue, handle.waiting = self.events, self.queue, self.scheduler.waiting
        self.bindings = []
        self.scheduler.submit = self.bindings.append
        self.feed = Feed(self.scheduler, self.reporter)
        self.caches, self.cut = {}, set()
        self._alone = {}
        kept = self.cluster.shared(Objects).kept.values()
        self.watchers = [*kept, *(one for profile in self.profiles for one in profile.watchers)]
        self.kinds = [NODES.plural, *dict.fromkeys(one.resource.plural for one in self.watchers), PODS.plural]
        for plural in self.kinds:
            self.list(plural)

    # -- what informers do -----------------------------------------------------------------------------------------------

    def list(self, plural):
        self.cut.discard(plural)
        self._tell(plural, self._cache(plural).replace(list(self.truth.of(plural).values())))

    def changed(self, plural, key):
        """A watch event, unless the watch is cut off."""
        if plural in self.cut or plural not in self.kinds:
            return
        obj, cache = self.truth.of(plural).get(key), self._cache(plural)
        self._tell(plural, cache.remove(key) if obj is None else cache.upsert(obj))

    def reconnect(self):
        for plural in [kind for kind in self.kinds if kind in self.cut]:
            self.list(plural)

    def _cache(self, plural):
        return self.caches.setdefault(plural, Cache())

    def _tell(self, plural, changes):
        feed = self.feed
        for change in changes:
            if plural == NODES.plural:
                feed.node_deleted(change.old) if change.new is None else feed.node_set(change.new)
            elif plural == PODS.plural:
                self._tell_of_pod(change)
            else:
                for plugin in [one for one in self.watchers if one.resource.plural == plural]:
                    feed.object_deleted(plugin, change.old) if change.new is None else feed.object_set(plugin, change.new)

    def _tell_of_pod(self, change):
        if change.new is None:
            self.feed.pod_deleted(change.old)
        elif change.old is None:
            self.feed.pod_added(change.new)
        else:
            self.feed.pod_updated(change.old, change.new)

    # -- what it would say -----------------------------------------------------------------------------------------------

    def run(self):
        while self.scheduler.schedule_one():
            pass

    def verdicts(self, pod):
        """By plugin (empty: all together) a text, or reasons and points by node. Kept between calls, as in a cycle."""
        info = self.feed.reader.read(pod)
        found = {"": self._said(self.scheduler._evaluators[self.profile], info)}
        for name, plugin in self.profile.plugins.items():
            if isinstance(plugin, FilterPlugin | ScorePlugin):
                found[name] = self._said(self._evaluator(name, plugin), info)
        return found

    def _evaluator(self, name, plugin):
        if name not in self._alone:
            self._alone[name] = Evaluator(Profile(["x"], [PrioritySort(), plugin]), self.cluster.columns)
        return self._alone[name]

    def _said(self, evaluator, info):
        try:
            answer = evaluator.evaluate(info)
        except PluginFailed as err:
            return str(err)
        if isinstance(answer, Status):
            return answer.message
        columns, totals, said = self.cluster.columns, answer.totals(), {}
        for name, row in columns.row_of.items():
            inside = isinstance(answer, Evaluation) or row in answer.rows
            reasons = sorted(answer.compiled.diagnose(columns, np.array([row])).reasons) if inside and totals[row] < 0 else []
            said[name] = int(totals[row]), tuple(one for one in reasons if one != answer.compiled.excluded_reason)
        return said
