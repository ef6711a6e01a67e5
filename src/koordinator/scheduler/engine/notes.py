"""What plugins note down about one attempt for those who ask why it failed: the diagnosis beside the nodes' own reasons."""

from collections.abc import Callable
from typing import Any

import msgspec

KEY = "scheduling.koordinator.sh/diagnosis"
"""Where the notes are in the cycle state."""

EVICT_SELF, WAIT_FOR_VICTIMS, DELETE_CLAIM = "EvictWorkloadSelf", "WaitingVictimReleased", "DeleteConflictPVC"
"""Types of suggestions."""


class Suggestion(msgspec.Struct, frozen=True):
    """What somebody could do about it."""

    type: str
    message: str

    def __str__(self) -> str:
        return f"Suggestion: {{type: {self.type}, message: {self.message}}}"


class Notes(msgspec.Struct):
    """``questioned_key``: whom the question is about; empty for the pod itself. ``root_cause``: whether the pod is refused for
    its own sake, and not because others of its job were.
    """

    questioned_key: str = ""
    topology_key: str = ""
    root_cause: bool = True
    already_wait_for_bound: int = 0
    node_offer_slot: dict[str, int] = {}
    """How many pods of the job each node would take."""
    dry_run: Any = None
    """Why nodes would refuse the pod even after evictions; as it goes into JSON."""
    other: Any = None
    """What else stands in the way of preemption; as it goes into JSON."""
    suggestion: Suggestion | None = None

    def suggest(self, type_: str, message: str) -> None:
        """The first suggestion of an attempt stays."""
        if self.suggestion is None:
            self.suggestion = Suggestion(type_, message)


def notes(state: dict[str, Any]) -> Notes:
    """The notes of the attempt under way. Not for PreFilter hooks that are asked once per signature: their state is shared."""
    found = state.get(KEY)
    if found is None:
        found = state[KEY] = Notes()
    known: Notes = found
    return known


Processor = Callable[[dict[str, Any]], None]


class Processors:
    """Who else wants every diagnosis, by name; it gets what is logged as JSON. ``cluster.shared(Processors)`` has them."""

    def __init__(self, _: object) -> None:
        self.by_name: dict[str, Processor] = {}
