"""SchedulingGates: a pod waits outside the queue until whoever gated it has removed every gate."""

from collections.abc import Sequence

from koordinator.scheduler.engine.events import Hint
from koordinator.scheduler.engine.framework import Code, PreEnqueuePlugin, Status
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.remedy import Remedy


class SchedulingGates(PreEnqueuePlugin):
    name = "SchedulingGates"
    once = True

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        """Only a change of the pod itself opens a gate."""
        return ()

    def pre_enqueue(self, pod: PodInfo) -> Status | None:
        gates = pod.pod.spec.scheduling_gates
        if not gates:
            return None
        names = " ".join(gate.name for gate in gates)
        return Status(Code.UNSCHEDULABLE_AND_UNRESOLVABLE, (f"waiting for scheduling gates: [{names}]",), self.name)

    def advice(self, pod: PodInfo) -> list[Remedy]:
        """Whoever has gated the pod knows when it may go; a gate is never ours to remove."""
        gates = pod.pod.spec.scheduling_gates or ()
        text = "remove the scheduling gate {}, as whoever has set it does when it is time"
        return [Remedy("other", text.format(gate.name), 2.0) for gate in gates]
