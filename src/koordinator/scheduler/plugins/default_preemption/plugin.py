"""DefaultPreemption: when a pod fits nowhere, find the node where making room costs least, evict there, and promise the node.

All nodes are compared, as long as only resources stand in the way; the candidate limits of the arguments count where filters
have to be asked node by node. Evicting goes on in the background: the cycle waits for nobody.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from koordinator.api.core import Node, PodDisruptionBudget
from koordinator.api.registry import POD_DISRUPTION_BUDGETS
from koordinator.errors import KoordError
from koordinator.scheduler.config.args import DefaultPreemptionArgs
from koordinator.scheduler.engine.evaluate import Evaluation, Restricted
from koordinator.scheduler.engine.events import Hint
from koordinator.scheduler.engine.framework import Code, CycleState, Diagnosis, PostFilterPlugin, Status, WatchPlugin
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.engine.namelog import NameLog
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.plugins.default_preemption.candidates import Candidates
from koordinator.scheduler.plugins.default_preemption.dryrun import DryRun, depends_on_pods, dry_run
from koordinator.scheduler.plugins.default_preemption.evict import Evictor
from koordinator.scheduler.plugins.default_preemption.victims import Budget, Victims, budget_of, violating

log = logging.getLogger(__name__)

NEVER = "not eligible due to preemptionPolicy=Never."
TERMINATING = "not eligible due to a terminating pod on the nominated node."
UNHELPFUL = "Preemption is not helpful for scheduling"
_SHOWN = 10
"""So many nodes are named to whoever asks what preemption could do."""
_KEPT = 64
"""So many questions (templates of preempting pods) are remembered."""


class Preemption(NamedTuple):
    """A decision: for this pod, these pods leave that node."""

    pod: PodInfo
    node: str
    victims: Victims


class DefaultPreemption(PostFilterPlugin, WatchPlugin):
    name = "DefaultPreemption"
    resource = POD_DISRUPTION_BUDGETS
    happening = 0
    dry_runs = False

    def __init__(self, handle: Handle, args: DefaultPreemptionArgs | None = None) -> None:
        self.args = args or DefaultPreemptionArgs()
        self._handle, self._cluster = handle, handle.cluster
        self._random = random.Random(0)  # noqa: S311 — an offset needs no secrecy
        self._budgets: dict[str, Budget] = {}
        self._budget_changes = 0
        self._log = NameLog()
        self._known: dict[Hashable, Candidates] = {}
        self.attempts = 0
        self.evicted: Counter[int] = Counter()
        """How often so many pods were evicted for one; for the metrics, which take them out."""
        self.evictor = Evictor(handle, self.name)
        self.evict: Callable[[Preemption], None] = self._evict
        handle.cluster.listeners.append(self)

    def reconfigure(self, args: DefaultPreemptionArgs) -> bool:
        self.args = args
        return True

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        """The plugins that refused the pod know what may help it."""
        return ()

    # -- the decision --------------------------------------------------------------------------------------------------

    def post_filter(self, state: CycleState, pod: PodInfo, diagnosis: Diagnosis) -> tuple[str | None, Status]:
        """The node to promise; an empty name takes an old promise back, None leaves it."""
        if pod.pod.spec.preemption_policy == "Never":
            return None, _refusal(NEVER)
        evaluation = diagnosis.evaluation
        if evaluation is None or diagnosis.unresolvable is None:
            return "", self._message(diagnosis, Counter())
        auditor = self._handle.auditor
        if self._is_being_helped(pod, diagnosis):
            if auditor is not None:
                auditor.victims_leaving(pod)
            return None, _refusal(TERMINATING)
        self.attempts += 1
        rows = self._candidates(evaluation, diagnosis)
        candidates = self._asked(pod, evaluation, rows)
        if self._handle.extenders is not None and self._handle.extenders.preempting(pod):
            if auditor is not None:
                auditor.undecided(pod)
            return None, self._negotiated(pod, candidates, rows)
        row = candidates.cheapest(rows)
        if row is None:
            return "", self._message(diagnosis, candidates.reasons(rows), len(rows))
        node = self._cluster.columns.names[row]
        self.evict(Preemption(pod, node, candidates.victims[row]))
        return node, Status(Code.SUCCESS)

    def prospects(self, pod: PodInfo, diagnosis: Diagnosis) -> Sequence[tuple[str, Sequence[PodInfo]]]:
        evaluation = diagnosis.evaluation
        if pod.pod.spec.preemption_policy == "Never" or evaluation is None or diagnosis.unresolvable is None:
            return ()
        rows = self._candidates(evaluation, diagnosis)
        candidates = self._asked(pod, evaluation, rows, _SHOWN)
        best = candidates.cheapest(rows)
        if best is None:
            return ()
        others = [row for row in candidates.open(rows) if row != best][: _SHOWN - 1]
        return [(self._cluster.columns.names[row], candidates.victims[row].pods) for row in (best, *others)]

    def _is_being_helped(self, pod: PodInfo, diagnosis: Diagnosis) -> bool:
        """Whether victims of this very pod are still on their way out."""
        node = self._cluster.nominator.node_of(pod.uid)
        row = self._cluster.columns.row_of.get(node)
        if row is None or diagnosis.unresolvable is None or diagnosis.unresolvable[row]:
            return False
        return any(
            placed.info.priority < pod.priority
            and (placed.info.uid in self.evictor.leaving or placed.info.pod.metadata.deletion_timestamp is not None)
            for placed in self._cluster.pods_on(node)
        )

    def _candidates(self, evaluation: Evaluation | Restricted, diagnosis: Diagnosis) -> NDArray[np.intp]:
        """Rows where evicting pods can help: nothing stands in the way there that pods have no part in."""
        columns = self._cluster.columns
        able = columns.alive[: columns.size].copy()
        if diagnosis.unresolvable is not None:
            able &= ~diagnosis.unresolvable[: columns.size]
        if isinstance(evaluation, Evaluation):
            for index, plugin in enumerate(evaluation.filters):
                if not depends_on_pods(plugin):
                    able &= ~evaluation.refused[index, : columns.size]
        return np.flatnonzero(able)

    def _asked(self, pod: PodInfo, evaluation: Evaluation | Restricted, rows: NDArray[np.intp], enough: int = 0) -> Candidates:
        """The price of all rows, or, where filters have to be asked one by one, of enough of them."""
        question = self._question(pod, evaluation)
        if isinstance(evaluation, Restricted) or any(plugin.far for plugin in evaluation.filters):
            fresh = Candidates(self._cluster.columns)
            offset = self._random.randrange(len(rows)) if len(rows) else 0
            fresh.ask(np.roll(rows, -offset), question, enough or self._enough(len(self._cluster.columns)))
            return fresh
        known = self._remembered(pod, evaluation)
        known.ask(rows, question)
        return known

    def _question(self, pod: PodInfo, evaluation: Evaluation | Restricted) -> DryRun:
        budgets = list(self._budgets.values())
        now = self._handle.clock.now()
        profile = evaluation.compiled.profile
        return dry_run(self._cluster, profile, pod, evaluation, now, lambda pods: violating(pods, budgets))

    def _enough(self, nodes: int) -> int:
        share = nodes * self.args.min_candidate_nodes_percentage // 100
        return min(nodes, max(share, self.args.min_candidate_nodes_absolute))

    def _remembered(self, pod: PodInfo, evaluation: Evaluation) -> Candidates:
        """The answers for pods like this one, without those that nodes have outlived."""
        key = (id(evaluation.compiled.profile), evaluation.compiled.profile.signature(pod), pod.priority)
        known = self._known.pop(key, None)
        columns, promises = self._cluster.columns, self._cluster.nominator.log
        seen = (self._log.position, promises.position, self._budget_changes, columns.position)
        if known is None or known.seen[2] != seen[2] or not self._follow(known):
            known = Candidates(columns)
        known.seen = seen
        if len(self._known) >= _KEPT:
            del self._known[next(iter(self._known))]
        self._known[key] = known
        return known

    def _follow(self, known: Candidates) -> bool:
        """Forget the answers of nodes that have moved since; False when that cannot be told."""
        columns = self._cluster.columns
        moved, promised = self._log.since(known.seen[0]), self._cluster.nominator.log.since(known.seen[1])
        changed = columns.changed_since(known.seen[3])
        if moved is None or promised is None or changed is None:
            return False
        for row in (*changed[0], *known.personal):
            known.forget(row)
        known.personal.clear()
        for name in moved | promised:
            if name in columns.row_of:
                known.forget(columns.row_of[name])
        return True

    def _message(self, diagnosis: Diagnosis, reasons: Counter[str], asked: int = 0) -> Status:
        counts = Counter(reasons)
        if diagnosis.nodes > asked:
            counts[UNHELPFUL] += diagnosis.nodes - asked
        texts = sorted(f"{count} {reason}" for reason, count in counts.items())
        return _refusal(f"0/{diagnosis.nodes} nodes are available: {', '.join(texts)}.")

    # -- the deed ------------------------------------------------------------------------------------------------------

    def _evict(self, preemption: Preemption) -> None:
        self.evicted[len(preemption.victims.pods)] += 1
        if self._handle.auditor is not None:
            self._handle.auditor.nominated(preemption.pod, preemption.victims.pods)
        self.evictor.start(preemption.pod, preemption.node, preemption.victims.pods)

    def _negotiated(self, pod: PodInfo, candidates: Candidates, rows: NDArray[np.intp]) -> Status:
        """Extenders have a say: the decision is made when they have answered."""
        names = self._cluster.columns.names
        wanted = candidates.open(rows)[: self._enough(len(self._cluster.columns))]
        offered = {names[row]: candidates.victims[row] for row in wanted}
        if offered:
            self.evictor.spawn(self._negotiate(pod, offered))
        return _refusal("waiting for preempting extenders.")

    async def _negotiate(self, pod: PodInfo, offered: dict[str, Victims]) -> None:
        extenders, queue = self._handle.extenders, self._handle.queue
        if extenders is None:
            return
        try:
            kept = await extenders.shrink(pod, {node: list(victims.pods) for node, victims in offered.items()})
        except KoordError as err:
            log.warning("pod %s does not preempt: %s", pod.key, err)
            return
        if not kept or (queue is not None and pod.uid not in queue):
            return
        prices = {node: (offered[node].violations, len(pods), node) for node, pods in kept.items() if node in offered}
        node = min(prices, key=lambda name: prices[name])
        self._cluster.nominator.nominate(pod, node)
        await asyncio.sleep(0)
        self.evict(Preemption(pod, node, Victims(tuple(kept[node]), offered[node].violations)))

    # -- what informers and the cluster tell ---------------------------------------------------------------------------

    def object_set(self, obj: PodDisruptionBudget) -> None:
        budget = budget_of(obj)
        self._budget_changes += 1
        if budget is None:
            self._budgets.pop(obj.key, None)
        else:
            self._budgets[obj.key] = budget

    def object_deleted(self, obj: PodDisruptionBudget) -> None:
        self._budgets.pop(obj.key, None)
        self._budget_changes += 1

    def pod_placed(self, info: PodInfo, node: str) -> None:
        self._log.add(node)

    def pod_updated(self, info: PodInfo, node: str) -> None:
        self._log.add(node)

    def pod_removed(self, info: PodInfo, node: str) -> None:
        self._log.add(node)
        self.evictor.leaving.discard(info.uid)

    def node_set(self, row: int, node: Node, changes: int) -> None:
        if changes:
            self._log.add(node.name)

    def node_removed(self, name: str) -> None:
        self._known.clear()


def _refusal(text: str) -> Status:
    return Status(Code.UNSCHEDULABLE, (f"preemption: {text}",))
