"""Which QoS class and priority go together, and what may not change: the rules of the pod webhook, as texts of field errors.

Messages are part of the protocol, letter by letter.
"""

from koordinator.api import keys, priority, qos, quantity, resources
from koordinator.api.core import Pod
from koordinator.api.priority import Band
from koordinator.api.qos import QoS

_FORBIDDEN = {
    QoS.BE: (Band.NONE, Band.PROD),
    QoS.LSR: (Band.NONE, Band.MID, Band.BATCH, Band.FREE),
}
_QOS_FIELD = "labels.koordinator.sh/qosClass"
_REQUESTS_FIELD = "pod.spec.containers[*].resources.requests"


def aggregate(problems: list[str]) -> str:
    """Several field errors as one text; empty when there is none."""
    distinct = list(dict.fromkeys(problems))
    return distinct[0] if len(distinct) == 1 else f"[{', '.join(distinct)}]" if distinct else ""


def pod_problems(pod: Pod, old: Pod | None = None, *, check_sub_priority: bool = True) -> list[str]:
    """Every broken rule. ``old`` is the pod before an update. Raises ValueError on a quantity that cannot be read."""
    problems = _immutable(pod, old, check_sub_priority=check_sub_priority) if old is not None else []
    requests = resources.pod_requests(pod)
    qos_class, band = qos.raw(pod), priority.raw(pod)
    colocated = requests.get(resources.BATCH_CPU) or requests.get(resources.BATCH_MEMORY)
    if colocated and qos_class is not QoS.BE:
        problems.append(f"{_QOS_FIELD}: Required value: must specify koordinator QoS BE with koordinator colocation resources")
    if band in _FORBIDDEN.get(qos_class, ()):
        problems.append(
            f"Pod: Forbidden: koordinator.sh/qosClass={qos_class} and priorityClass={band} cannot be used in combination"
        )
    if qos_class in (QoS.LSR, QoS.LSE):
        problems += _whole_cpus(requests.get(resources.CPU, 0))
    return problems


def _immutable(pod: Pod, old: Pod, *, check_sub_priority: bool) -> list[str]:
    problems = []
    if qos.raw(pod) != qos.raw(old):
        problems.append(f'{_QOS_FIELD}: Invalid value: "{qos.raw(pod)}": field is immutable')
    if priority.raw(pod) != priority.raw(old):
        problems.append(f'spec.priority: Invalid value: "{priority.raw(pod)}": field is immutable')
    new = pod.labels.get(keys.PRIORITY, "")
    if check_sub_priority and new != old.labels.get(keys.PRIORITY, ""):
        problems.append(f'labels.{keys.PRIORITY}: Invalid value: "{new}": field is immutable')
    return problems


def _whole_cpus(milli: int) -> list[str]:
    if not milli:
        return [f"{_REQUESTS_FIELD}: Required value: LSR Pod must declare the requested CPUs"]
    if milli % 1000:
        text = quantity.of_milli(milli)
        return [f'{_REQUESTS_FIELD}: Invalid value: "{text}": the requested CPUs of LSR Pod must be integer']
    return []
