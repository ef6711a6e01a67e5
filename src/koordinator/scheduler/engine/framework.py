"""What a plugin is: the extension points of the Kubernetes scheduling framework, over columns instead of single nodes.

A plugin is a class with a ``name`` and the hooks it needs; it subclasses one base per extension point. Hooks that look at nodes
(filter, score) get a set of rows and answer with one number per row; the others act on the single chosen node.

Two declarations let the engine reuse answers:

- ``signature(pod)``: a hashable value of everything that PreFilter, Filter and Score read from the pod. Pods of one signature
  share PreFilter state, verdicts and scores.
- ``reads`` / ``score_reads``: which parts of a row the answers depend on (``Change`` bits). Only rows in which such a part
  moved are asked again, so an answer for one row must not depend on other rows; a plugin whose answers do (pods of a zone, the
  spread over all nodes) says so with ``far`` / ``score_far`` and tells in ``reach`` / ``survey`` which rows to ask.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import numpy as np

from koordinator.api.registry import Resource
from koordinator.scheduler.engine.columns import Bools, Change, Columns, Ints, Rows
from koordinator.scheduler.engine.events import Happening, Hint
from koordinator.scheduler.engine.notes import Notes
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.remedy import Remedy

if TYPE_CHECKING:
    from koordinator.scheduler.engine.meter import Meter

MAX_SCORE = 100
UNRESOLVABLE = 1 << 62
"""Set in a reason code when no eviction of pods could help on that node."""

Verdict = Ints
"""One code per row: 0 fits; anything else is the plugin's own reason code, ``UNRESOLVABLE`` included or not."""

Endpoint = Callable[..., object]
CycleState = dict[str, Any]
"""What a plugin remembers from PreFilter to PostBind, by plugin name."""


class Code(IntEnum):
    SUCCESS = 0
    ERROR = 1
    UNSCHEDULABLE = 2
    UNSCHEDULABLE_AND_UNRESOLVABLE = 3
    WAIT = 4
    SKIP = 5
    PENDING = 6


class Status(msgspec.Struct, frozen=True):
    """A plugin's answer when it is not a plain yes (which is ``None``)."""

    code: Code
    reasons: tuple[str, ...] = ()
    plugin: str = ""
    timeout_seconds: float = 0.0

    @property
    def rejected(self) -> bool:
        return self.code in (Code.UNSCHEDULABLE, Code.UNSCHEDULABLE_AND_UNRESOLVABLE, Code.PENDING)

    @property
    def message(self) -> str:
        return ", ".join(self.reasons)


SKIP = Status(Code.SKIP)


class PreFilterResult(msgspec.Struct, frozen=True):
    """PreFilter's answer: a status that ends the cycle or skips the plugin's Filter, or the only nodes worth looking at."""

    status: Status | None = None
    nodes: frozenset[str] | None = None


class Plugin:
    """Base of all plugins."""

    name: ClassVar[str]
    meter: "Meter | None" = None
    """Who counts and times the hooks, where somebody wants to know."""

    def signature(self, pod: PodInfo) -> Hashable:
        """Everything that PreFilter, Filter and Score read from the pod. Taken once per template (``pod.template_key``)."""
        return None

    def tells_apart(self, pod: PodInfo) -> bool:
        """Whether ``individual`` has anything to say of pods of this template. Asked once per template."""
        return True

    def individual(self, pod: PodInfo) -> Hashable:
        """What ``signature`` cannot tell because pods of one template differ in it (labels, volumes) or because it depends on
        the cluster. Taken for every pod, so it must be cheap.
        """
        return None

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        """Which cluster events may let a pod in that this plugin refused. No hint means always."""
        return ((Happening.ANYTHING, None),)

    def advice(self, pod: PodInfo) -> list[Remedy]:
        """What would have to change for a pod that the plugin refuses before any node is looked at."""
        return []

    def about_node(self, name: str) -> list[str]:
        """What the plugin knows of a node that people who look at it should know: lines for ``koord explain node``."""
        return []

    def endpoints(self) -> Mapping[str, Endpoint]:
        """Debug answers under ``/apis/v1/plugins/NAME/``: path, with ``{parameters}``, to a function of these.

        Its answer goes out as JSON. LookupError with a sentence is a 404. The first profile's plugin of a name is asked.
        """
        return {}


class QueueSortPlugin(Plugin):
    def sort_key(self, pod: PodInfo, timestamp: float) -> tuple[Any, ...]:
        """Smaller goes first."""
        raise NotImplementedError


class PreEnqueuePlugin(Plugin):
    once: ClassVar[bool] = False
    """True when the answer depends on the pod alone: then it is not asked again whenever the pod wakes."""

    def pre_enqueue(self, pod: PodInfo) -> Status | None:
        raise NotImplementedError


class PreFilterPlugin(Plugin):
    per_pod: ClassVar[bool] = False
    """True when the answer depends on more than the signature (a gang, a quota): asked again for every pod."""

    def pre_filter(self, state: CycleState, pod: PodInfo, nodes: Columns) -> PreFilterResult | None:
        raise NotImplementedError


class FilterPlugin(Plugin):
    reads: ClassVar[int] = Change.ALL
    far: ClassVar[bool] = False
    """Whether verdicts for one row depend on other rows, so that ``reach`` has to be asked."""
    relieved: ClassVar[bool] = False
    """Says that pods leaving a node may turn a refusal there into a yes, and never the other way round, although ``reads``
    names no pods: preemption asks such a filter again where it refuses, and nowhere else."""

    def reach(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Rows:
        """Which rows have another verdict than when last asked, now that ``rows`` moved: these themselves, and perhaps more.

        Only asked when a part that the plugin reads moved. The answer must contain ``rows``; ``rows`` itself says "no more".
        """
        return rows

    def filter(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Verdict:
        raise NotImplementedError

    def would_relieve(self, state: CycleState, pod: PodInfo, row: int, gone: Sequence[PodInfo]) -> bool:
        """With ``relieved``: a quick look whether these pods leaving could turn a refusal; then the filter itself is asked."""
        return True

    def needs(self, state: CycleState, pod: PodInfo, nodes: Columns) -> Ints | None:
        """What must be free on a node, as a row of the columns, when the filter asks for nothing but free resources."""
        return None

    def explain(self, state: CycleState, code: int, nodes: Columns) -> list[str]:
        """The reasons that a code stands for, in the wire protocol's words."""
        raise NotImplementedError

    def remedies(self, state: CycleState, pod: PodInfo, nodes: Columns, row: int) -> list[Remedy]:
        """What would have to change for a row that the filter refuses; empty when the plugin cannot tell."""
        return []


class PostFilterPlugin(Plugin):
    def post_filter(self, state: CycleState, pod: PodInfo, diagnosis: "Diagnosis") -> tuple[str | None, Status]:
        """After no node fitted: a node to nominate (or None) and a status whose message ends the failure text."""
        raise NotImplementedError

    def prospects(self, pod: PodInfo, diagnosis: "Diagnosis") -> Sequence[tuple[str, Sequence[PodInfo]]]:
        """For explanations: nodes that evicting these pods would open, best first. A question only, nothing may change."""
        return ()


class PreScorePlugin(Plugin):
    def pre_score(self, state: CycleState, pod: PodInfo, nodes: Columns) -> Status | None:
        raise NotImplementedError


class ScorePlugin(Plugin):
    score_reads: ClassVar[int] = Change.ALL
    normalizes: ClassVar[bool] = False
    """Whether scores depend on the scores of other feasible nodes, through ``bounds`` and ``normalize``."""
    score_far: ClassVar[bool] = False
    """Whether raw scores of one row depend on other rows, so that ``survey`` has to be asked. Implies ``normalizes``."""

    def survey(self, state: CycleState, pod: PodInfo, nodes: Columns, feasible: Bools) -> bool:
        """Look at all nodes before Score; says whether scores of rows other than those that moved have become different."""
        return False

    def score(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Ints:
        """0 to 100 per row; with ``normalizes``, any number."""
        raise NotImplementedError

    def bounds(self, raw: Ints, feasible: Bools) -> tuple[int, ...]:
        """What normalisation needs to know of all feasible nodes. By default the largest score."""
        return (int(raw.max(where=feasible, initial=0)),)

    def normalize(self, raw: Ints, bounds: tuple[int, ...]) -> Ints:
        """Raw scores to 0..100."""
        return default_normalize(raw, bounds[0])


class ReservePlugin(Plugin):
    like_filter: ClassVar[bool] = False
    """True when Reserve refuses only what Filter would refuse by then: pods of one signature may wait together."""

    def reserve(self, state: CycleState, pod: PodInfo, node: str) -> Status | None:
        raise NotImplementedError

    def unreserve(self, state: CycleState, pod: PodInfo, node: str) -> None:
        """Undo reserve. May be called without it; must not fail."""
        raise NotImplementedError


class PermitPlugin(Plugin):
    def permit(self, state: CycleState, pod: PodInfo, node: str) -> Status | None:
        raise NotImplementedError


class PreBindPlugin(Plugin):
    async def pre_bind(self, state: CycleState, pod: PodInfo, node: str) -> Status | None:
        raise NotImplementedError


class PatientPreBindPlugin(PreBindPlugin):
    """Has others do something before the pod is bound, which may take minutes: ``pre_bind`` asks for it and must not wait."""

    async def wait(self, state: CycleState, pod: PodInfo, node: str) -> Status | None:
        """Return once it is done, or has failed. Only called after a ``pre_bind`` that said None.

        Pods that wait keep no other from being bound, however many there are.
        """
        raise NotImplementedError


class BindPlugin(Plugin):
    async def bind(self, state: CycleState, pod: PodInfo, node: str) -> Status | None:
        """Bind the pod. Raises ApiError when the API server refuses; SKIP leaves it to the next plugin."""
        raise NotImplementedError


class PostBindPlugin(Plugin):
    def post_bind(self, state: CycleState, pod: PodInfo, node: str) -> None:
        raise NotImplementedError


class WatchPlugin(Plugin):
    """A plugin with an informer of its own. Nothing is scheduled before it has seen the first full list."""

    resource: ClassVar[Resource[Any]]
    happening: ClassVar[int]
    """The cluster event that a change of such an object is."""

    def object_set(self, obj: Any) -> None:
        """Raises ValueError when the object cannot be read."""
        raise NotImplementedError

    def object_deleted(self, obj: Any) -> None:
        raise NotImplementedError

    def tick(self, now: float) -> None:
        """Called about every second: what changes just because time passes."""


POINTS: dict[type[Plugin], str] = {
    QueueSortPlugin: "queue_sort",
    PreEnqueuePlugin: "pre_enqueue",
    PreFilterPlugin: "pre_filter",
    FilterPlugin: "filter",
    PostFilterPlugin: "post_filter",
    PreScorePlugin: "pre_score",
    ScorePlugin: "score",
    ReservePlugin: "reserve",
    PermitPlugin: "permit",
    PreBindPlugin: "pre_bind",
    BindPlugin: "bind",
    PostBindPlugin: "post_bind",
}
"""The extension points that a configuration can name."""


class PluginFailed(Exception):
    """A plugin raised. The pod gets an event that names the plugin; others go on."""

    def __init__(self, plugin: str, point: str, error: Exception) -> None:
        super().__init__(f'running {point} plugin "{plugin}": {type(error).__name__}: {error}')
        self.plugin, self.point, self.error = plugin, point, error


def default_normalize(raw: Ints, largest: int, *, reverse: bool = False) -> Ints:
    """Scale so that the largest raw score becomes 100. All zero stays zero, or becomes 100 when reversed."""
    if largest == 0:
        return np.full_like(raw, MAX_SCORE) if reverse else raw
    scaled = raw * MAX_SCORE // largest
    return MAX_SCORE - scaled if reverse else scaled


class Diagnosis(msgspec.Struct):
    """Why no node took the pod: a count per reason, and which plugins refused."""

    nodes: int
    reasons: dict[str, int] = {}
    plugins: set[str] = set()
    pre_filter_message: str = ""
    post_filter_message: str = ""
    unresolvable: Bools | None = None
    """Per row: True where evicting pods cannot help."""
    nominated: str | None = None
    """The node that PostFilter promises the pod; empty to take a promise back, None to leave it as it is."""
    evaluation: Any = None
    """The ``Evaluation`` (or ``Restricted``) that found no node: for PostFilter plugins that ask further."""
    notes: Notes | None = None
    """What plugins noted down in the attempt."""

    @property
    def message(self) -> str:
        """The standard text. Counted reasons are sorted as strings, so "10 x" stands before "2 y"."""
        text = f"0/{self.nodes} nodes are available:"
        if self.pre_filter_message:
            text += f" {self.pre_filter_message}."
        elif self.reasons:
            counted = sorted(f"{count} {reason}" for reason, count in self.reasons.items())
            text += f" {', '.join(counted)}."
        suggestion = "" if self.notes is None or self.notes.suggestion is None else str(self.notes.suggestion)
        told = ", ".join(filter(None, (self.post_filter_message, suggestion)))
        return f"{text} {told}" if told else text
