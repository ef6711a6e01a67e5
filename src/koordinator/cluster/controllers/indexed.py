"""Indexed jobs: every completion has a number, and every number must succeed once."""

from collections.abc import Iterable
from typing import Any

from koordinator.api.core import Pod
from koordinator.cluster.controllers.objects import Job
from koordinator.cluster.controllers.pods import NAME_LIMIT, is_active, suffix

INDEX = "batch.kubernetes.io/job-completion-index"
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"


def is_indexed(job: Job) -> bool:
    return job.spec.completion_mode == "Indexed"


def index_of(pod: Pod) -> int | None:
    text = pod.annotations.get(INDEX, "")
    return int(text) if text.isascii() and text.isdigit() else None


def completed(job: Job, pods: Iterable[Pod]) -> set[int]:
    """The numbers that have succeeded: those in the status, and those whose pod shows it now."""
    seen = {index_of(pod) for pod in pods if pod.status.phase == "Succeeded"}
    limit = job.spec.completions or 0
    return {index for index in parse(job.status.completed_indexes or "") | seen if index is not None and 0 <= index < limit}


def parse(text: str) -> set[int | None]:
    """``1,3-5,7`` as numbers. Parts that are none are left out: the pods will tell."""
    found: set[int | None] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found.update(range(int(first), int(last or first) + 1))
    return found


def text(indexes: set[int]) -> str:
    """Numbers as ``1,3-5,7``."""
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def assign(job: Job, bodies: list[dict[str, Any]], pods: Iterable[Pod]) -> list[dict[str, Any]]:
    """Give each new pod the lowest number that nobody works on; pods beyond the last number are dropped."""
    pods = list(pods)
    taken = completed(job, pods) | {index_of(pod) for pod in pods if is_active(pod)}
    free = [index for index in range(job.spec.completions or 0) if index not in taken]
    return [_numbered(job, body, index) for body, index in zip(bodies, free, strict=False)]


def _numbered(job: Job, body: dict[str, Any], index: int) -> dict[str, Any]:
    metadata = body["metadata"]
    prefix = f"{job.name[: NAME_LIMIT - 8 - len(str(index))]}-{index}-"
    metadata |= {"generateName": prefix, "name": prefix + suffix(metadata["name"])}
    metadata["labels"] = {**metadata["labels"], INDEX: str(index)}
    metadata["annotations"] = {**metadata["annotations"], INDEX: str(index)}
    variable = {"name": INDEX_VARIABLE, "value": str(index)}
    spec = body["spec"]
    for field in ("initContainers", "containers"):
        if spec.get(field):
            spec[field] = [{**container, "env": [*(container.get("env") or []), variable]} for container in spec[field]]
    return body
