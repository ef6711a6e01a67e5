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
from koordinator.scheduler.engine.framework import Diagnosis
from koordinator.scheduler.engine.notes import Notes, Processors
from koordinator.scheduler.engine.queued import QueuedPod
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
        self._processors = explainer.scheduler.cluster.shared(Processors).by_name
        self._waiting = 0

    @property
    def wanted(self) -> bool:
        """Whether anybody wants to know of refused pods."""
        return self.flags.watching or bool(self._processors)

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
        if not flags.diagnosis and not self._processors:
            return
        at = format_time(self._clock.now())
        if flags.diagnosis_blocking:
            self._dump(pod, diagnosis, at)
        elif self._waiting >= self._most:
            log.warning("diagnosis of %s is not dumped: %d others wait", pod.info.key, self._waiting)
        else:
            self._waiting += 1
            asyncio.get_running_loop().call_soon(self._dump_later, pod, diagnosis, at)

    def _dump_later(self, pod: QueuedPod, diagnosis: Diagnosis, at: str) -> None:
        self._waiting -= 1
        self._dump(pod, diagnosis, at)

    def _dump(self, pod: QueuedPod, diagnosis: Diagnosis, at: str) -> None:
        try:
            body = as_json(pod, diagnosis, self._groups(diagnosis), at)
        except Exception:  # a plugin's bug has been told already; a dump must not stop anything
            log.exception("diagnosis of %s is not dumped", pod.info.key)
            return
        if self.flags.diagnosis:
            log.info("%s", dump_line(pod, body))
        for name, process in self._processors.items():
            try:
                process(body)
            except Exception:  # as above
                log.exception("diagnosis processor %s for pod %s", name, pod.info.key)

    @staticmethod
    def _groups(diagnosis: Diagnosis) -> list[Group]:
        """Nodes that were looked at by their first objection. What Reserve and Permit refuse, without naming the node."""
        if diagnosis.pre_filter_message:
            return []
        if diagnosis.evaluation is not None:
            return Judged(diagnosis.evaluation).groups(excluded=False)
        plugins = " ".join(sorted(diagnosis.plugins))
        return [Group(plugin=plugins, reason=reason, preempt_might_help=True, nodes=[]) for reason in diagnosis.reasons]

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


def as_json(pod: QueuedPod, diagnosis: Diagnosis, groups: Sequence[Group], timestamp: str) -> dict[str, Any]:
    """A diagnosis in the protocol's words."""
    noted = diagnosis.notes or Notes()
    body: dict[str, Any] = {
        "timestamp": timestamp,
        "questionedKey": noted.questioned_key or pod.info.key,
        "nominatedNode": pod.info.pod.status.nominated_node_name or "",
        "preFilterMessage": diagnosis.pre_filter_message,
        "topologyKeyToExplain": noted.topology_key,
        "isRootCausePod": noted.root_cause,
        "scheduleDiagnosis": {
            "alreadyWaitForBound": noted.already_wait_for_bound,
            "nodeOfferSlot": noted.node_offer_slot,
            "nodeFailedDetails": [failed_detail(group) for group in groups],
        },
    }
    preemption = {
        "dryRunFilterDiagnosis": noted.dry_run,
        "otherDiagnosis": noted.other,
        "failedMessage": diagnosis.post_filter_message,
    }
    if any(preemption.values()):
        body["preemptionDiagnosis"] = {name: value for name, value in preemption.items() if value}
    if noted.suggestion is not None:
        body["suggestion"] = {"type": noted.suggestion.type, "message": noted.suggestion.message}
    return body


def dump_line(pod: QueuedPod, body: dict[str, Any]) -> str:
    """One line, the JSON after the dollar sign."""
    text = json.dumps(body, separators=(",", ":"))
    return f"dump diagnosis for {body['questionedKey']}, targetPod: {pod.info.key}/{pod.info.uid}: ${text}"


def failed_detail(group: Group) -> dict[str, Any]:
    """A group in the protocol's words."""
    return {
        "failedPlugin": group.plugin,
        "reason": group.reason,
        "preemptMightHelp": group.preempt_might_help,
        "failedNodes": group.nodes,
    }
