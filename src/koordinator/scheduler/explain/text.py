"""Explanations for people to read."""

from collections.abc import Iterable, Sequence

from koordinator.scheduler.explain.answers import Decision, NodeExplanation, NodeVerdict, PodExplanation, Refusal

_STATES = {
    "active": "waiting for its turn",
    "in flight": "being scheduled",
    "backoff": "pausing before the next attempt",
    "unschedulable": "waiting for a change that lets it in",
    "gated": "kept back",
}
_GROUPS, _CHANGES = 12, 3


def of_pod(answer: PodExplanation) -> str:
    """The whole story of one pod."""
    if answer.node:
        return "\n".join(_bound(answer))
    lines = [f"{answer.namespace}/{answer.name} is pending: {_STATES.get(answer.state, answer.state)}"]
    lines.append(f"  scheduler  {answer.scheduler}, {_times(answer.attempts)}, pending for {_age(answer.waiting_seconds)}")
    if answer.message:
        ago = f" ({_age(answer.last_attempt_seconds)} ago)" if answer.last_attempt_seconds is not None else ""
        lines.append(f"  last said  {answer.message}{ago}")
    if answer.nominated:
        lines.append(f"  promised   {answer.nominated}, where pods are making way")
    if not answer.nodes:
        return "\n".join([*lines, "  there is no node"])
    return "\n".join([*lines, *_needed(answer), *_now(answer)])


def _needed(answer: PodExplanation) -> list[str]:
    """What has to change before nodes matter at all."""
    lines = [f"  {one.text}{f' ({one.have})' if one.have else ''}" for one in answer.remedies]
    head = "This would have to change first:" if len(lines) == 1 else "All of these would have to change first:"
    return ["", head, *lines] if lines else []


def _now(answer: PodExplanation) -> list[str]:
    if answer.fitting:
        when = "then" if answer.remedies else "now"
        lines = ["", f"{answer.fitting} of {answer.nodes} nodes would take it {when}{_sampled(answer)}, best first:"]
        return lines + _table(_score_rows(answer.closest))
    lines = ["", f"Why no node of {answer.nodes} takes it:"]
    shown = answer.groups[:_GROUPS]
    rows = [[str(len(group.nodes) or answer.nodes), group.plugin, group.reason, _names(group.nodes)] for group in shown]
    lines += _table([["NODES", "PLUGIN", "REASON", "WHICH"], *rows])
    if answer.closest:
        lines += ["", "The nodes that come closest:"]
        lines += _table([["NODE", "PLUGIN", "WHY"], *_objections(answer.closest)])
        lines += _changes(answer.closest)
    return lines


def _bound(answer: PodExplanation) -> list[str]:
    how = "is on" if answer.state == "bound" else "is on its way to"
    lines = [f"{answer.namespace}/{answer.name} {how} {answer.node}"]
    if answer.state == "permit":
        lines.append(f"  permit     {answer.message}")
    decision = answer.decision
    if decision is None:
        return [*lines, "  why is not known: it was placed before this scheduler started, or by another"]
    if decision.node != answer.node:
        return [*lines, f"  by somebody else: this scheduler had chosen {decision.node}"]
    return lines + _decision(decision, _sampled(answer))


def _sampled(answer: PodExplanation) -> str:
    """Where percentageOfNodesToScore would have made a difference, had it any effect here."""
    if answer.sample is None:
        return ""
    return f" (all were looked at; kube-scheduler would have stopped at {answer.sample} that fit)"


def _decision(decision: Decision, sampled: str) -> list[str]:
    lines = [f"  chosen     attempt {decision.attempt}; {decision.fitting} of {decision.nodes} nodes fitted{sampled}"]
    if decision.fitting == 1 or not decision.parts:
        return lines
    tie = f", {decision.tied} nodes shared it and one was drawn" if decision.tied > 1 else ""
    lines.append(f"  score      {decision.score}, the highest{tie}")
    winner = NodeVerdict(node=decision.node, score=decision.score, parts=decision.parts)
    return [*lines, "", *_table(_score_rows([winner, *decision.others]))]


def _score_rows(verdicts: Sequence[NodeVerdict]) -> list[list[str]]:
    """A column per plugin that tells nodes apart or gives points at all."""
    plugins = [name for name in verdicts[0].parts if any(one.parts.get(name) for one in verdicts)] if verdicts else []
    head = ["NODE", "SCORE", *plugins]
    return [head, *([one.node, str(one.score), *(str(one.parts.get(name, 0)) for name in plugins)] for one in verdicts)]


def _objections(verdicts: Iterable[NodeVerdict]) -> list[list[str]]:
    rows = []
    for verdict in verdicts:
        for place, refusal in enumerate(verdict.refusals):
            rows.append(["" if place else verdict.node, refusal.plugin, why(refusal)])
    return rows


def why(refusal: Refusal) -> str:
    """The reasons, with figures where the plugin knows them."""
    figures = [one.have for one in refusal.remedies if one.have]
    return ", ".join(refusal.reasons) + (f" ({'; '.join(figures)})" if figures else "")


def _changes(verdicts: Iterable[NodeVerdict]) -> list[str]:
    """The smallest changes, for nodes whose every objection has a known remedy; nodes with the same one together."""
    nodes: dict[str, list[str]] = {}
    for verdict in verdicts:
        if all(refusal.remedies for refusal in verdict.refusals):
            texts = dict.fromkeys(one.text for refusal in verdict.refusals for one in refusal.remedies)
            nodes.setdefault(", and ".join(texts), []).append(verdict.node)
    lines = [f"  {_names(names)}: {text}" for text, names in list(nodes.items())[:_CHANGES]]
    head = "Any one of these would let it in, the smallest change first:" if len(lines) > 1 else "This would let it in:"
    return ["", head, *lines] if lines else []


def of_node(answer: NodeExplanation) -> str:
    """What a node holds, and what it would take."""
    lines = [f"{answer.name}{': cordoned' if answer.unschedulable else ''}, {len(answer.pods)} pods"]
    lines += [f"  taint      {taint}" for taint in answer.taints]
    lines += [f"  note       {note}" for note in answer.notes]
    rows = [[one.name, one.allocatable, one.requested, one.free] for one in answer.resources]
    lines += ["", *_table([["RESOURCE", "ALLOCATABLE", "REQUESTED", "FREE"], *rows])]
    if not answer.waiting:
        return "\n".join([*lines, "", "No pod is pending."])
    lines += ["", "Pending pods:"]
    lines += _table([["POD", "HERE"], *([one.pod, _verdict(one.refusals)] for one in answer.waiting)])
    if answer.not_shown:
        lines.append(f"  and {answer.not_shown} more, of the same templates or beyond the first")
    return "\n".join(lines)


def _verdict(refusals: Sequence[Refusal]) -> str:
    return "; ".join(f"{one.plugin}: {why(one)}" for one in refusals) or "fits"


# --- words -------------------------------------------------------------------------------------------------------------------


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _names(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _times(attempts: int) -> str:
    return f"{attempts} attempt{'' if attempts == 1 else 's'}"


def _age(seconds: float) -> str:
    """Seconds, from two minutes on minutes, from two hours on hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
