"""analysis.koordinator.sh/v1alpha1 Recommendation: how much a workload's containers should ask for."""

from typing import Annotated

import msgspec

from koordinator.api.core import Quantities
from koordinator.api.device import DeviceCondition
from koordinator.api.meta import REQUIRED, LabelSelector, Object, Struct, TimeText, always


class WorkloadRef(Struct):
    kind: Annotated[str, REQUIRED] = always("")
    name: Annotated[str, REQUIRED] = always("")
    api_version: str = ""


class RecommendationTarget(Struct):
    """``type`` is ``workload`` or ``podSelector``, and says which of the other two counts."""

    type: Annotated[str, REQUIRED] = always("")
    workload: WorkloadRef | None = None
    pod_selector: LabelSelector | None = None


class RecommendationSpec(Struct):
    target: Annotated[RecommendationTarget, REQUIRED] = msgspec.field(default_factory=RecommendationTarget)


class ContainerRecommendation(Struct):
    container_name: str = ""
    resources: Quantities | None = None


class PodRecommendation(Struct):
    container_statuses: list[ContainerRecommendation] | None = None


class RecommendationStatus(Struct):
    pod_status: PodRecommendation | None = None
    update_time: TimeText | None = None
    conditions: list[DeviceCondition] | None = None


class Recommendation(Object):
    """Recommended requests, by container."""

    spec: RecommendationSpec = msgspec.field(default_factory=RecommendationSpec)
    status: RecommendationStatus = msgspec.field(default_factory=RecommendationStatus)
