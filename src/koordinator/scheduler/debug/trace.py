"""What the debug switches log of single attempts: score tables, refusals, diagnosis dumps. Free while all are off."""

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

from koordinator.api.meta import format_time
from koordinator.clock import Clock
from koordinator.scheduler.debug.flags import Flags
from koordinator.scheduler.engine.evaluate import Evaluation, Restricted
from koordinator.scheduler.engine.framework import Diagnosis, Status
from koordinator.scheduler.engine.queue import QueuedPod
from koordinator.scheduler.explain.answers import Group, NodeVerdict
from koordinator.scheduler.explain.explainer import Explainer
from koordinator.scheduler.explain.judge import Judged
from koordinator.scheduler.report import Reporter

log = logging.getLogger(__name__)
QUEUE_SIZE = 1000


class Trace:
    """Hears of every attempt. ``queue_size`` bounds the dumps that wait for the event loop to have time."""

    def __init__(
        self, explainer: Explainer, reporter: Reporter, flags: Flags, clock: Clock, queue_size: int = QUEUE_SIZE
    ) -> None:
        self._reporter = reporter
        self.explainer, self.flags, self._clock, self._most = explainer, flags, clock, queue_size
        self._waiting = 0

    def chosen(self, pod: QueuedPod, evaluation: Evaluation | Restricted, row: int) -> None:
        """A pod has got a node."""
        choice = self.explainer.attempts.chosen(pod, evaluation, row)
        reporter = self._reporter
        reporter.metrics.chosen(pod.profile.name, choice.at - reporter.started, choice.nodes, choice.fitting)
        flags = self.flags
        if flags.filters:
            self._log_refusals(pod, Judged(evaluation))
        if flags.top_scores:
            judged = Judged(evaluation)
            log.info("%s", score_table(pod.info.key, judged.best(flags.top_scores), len(judged.fitting), flags.top_scores))

    def refused(self, pod: QueuedPod, diagnosis: Diagnosis) -> None:
        """A pod has got none."""
        flags = self.flags
        if flags.filters:
            judged = self.explainer.judged(pod)
            if isinstance(judged, Judged):
                self._log_refusals(pod, judged)
        if not flags.diagnosis:
            return
        if flags.diagnosis_blocking:
            self._dump(pod, diagnosis)
        elif self._waiting >= self._most:
            log.warning("diagnosis of %s is not dumped: %d others wait", pod.info.key, self._waiting)
        else:
            self._waiting += 1
            asyncio.get_running_loop().call_soon(self._dump_later, pod, diagnosis)

    def _dump_later(self, pod: QueuedPod, diagnosis: Diagnosis) -> None:
        self._waiting -= 1
        self._dump(pod, diagnosis)

    def _dump(self, pod: QueuedPod, diagnosis: Diagnosis) -> None:
        try:
            judged = self.explainer.judged(pod)
        except Exception:  # a plugin's bug has been told already; a dump must not stop anything
            log.exception("diagnosis of %s is not dumped", pod.info.key)
            return
        groups = [] if isinstance(judged, Status) else judged.groups()
        log.info("%s", dump_line(pod, diagnosis, groups, format_time(self._clock.now())))

    def _log_refusals(self, pod: QueuedPod, judged: Judged) -> None:
        for group in judged.groups():
            for node in group.nodes:
                log.info(
                    'Failed to filter for Pod "%s" on Node "%s" (pass 1), failedPlugin: %s, reason: %s',
                    pod.info.key,
                    node,
                    group.plugin,
                    group.reason,
                )


def score_table(key: str, best: Sequence[NodeVerdict], feasible: int, most: int) -> str:
    """The best nodes as a Markdown table."""
    plugins = list(best[0].parts) if best else []
    lines = [f"Top{most} scores for Pod: {key}, feasibleNodes: {feasible}, plugins:[{' '.join(plugins)}]"]
    lines.append(_row(["#", "Pod", "Node", "Score", *plugins]))
    lines.append(_row(["---"] * (4 + len(plugins))))
    for place, one in enumerate(best):
        lines.append(_row([str(place), key, one.node, str(one.score), *(str(one.parts[name]) for name in plugins)]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def dump_line(pod: QueuedPod, diagnosis: Diagnosis, groups: Sequence[Group], timestamp: str) -> str:
    """One line, the JSON after the dollar sign."""
    info = pod.info
    body: dict[str, Any] = {
        "timestamp": timestamp,
        "questionedKey": info.key,
        "nominatedNode": getattr(info.pod.status, "nominated_node_name", None) or "",
        "preFilterMessage": diagnosis.pre_filter_message,
        "topologyKeyToExplain": "",
        "isRootCausePod": True,
        "scheduleDiagnosis": {
            "alreadyWaitForBound": 0,
            "nodeOfferSlot": {},
            "nodeFailedDetails": [failed_detail(group) for group in groups],
        },
    }
    if diagnosis.post_filter_message:
        body["preemptionDiagnosis"] = {"failedMessage": diagnosis.post_filter_message}
    return f"dump diagnosis for {info.key}, targetPod: {info.key}/{info.uid}: ${json.dumps(body, separators=(',', ':'))}"


def failed_detail(group: Group) -> dict[str, Any]:
    """A group in the protocol's words."""
    return {
        "failedPlugin": group.plugin,
        "reason": group.reason,
        "preemptMightHelp": group.preempt_might_help,
        "failedNodes": group.nodes,
    }
