"""analysis.koordinator.sh/v1alpha1 Recommendation: how much a workload's containers should ask for."""

from typing import Annotated

import msgspec

from koordinator.api.core import Quantities
from koordinator.api.device import DeviceCondition
from koordinator.api.meta import REQUIRED, LabelSelector, Object, Struct, TimeText, always


class WorkloadRef(Struct):
    kind: Annotated[str, REQUIRED] = always("")  #: As Deployment.
    name: Annotated[str, REQUIRED] = always("")  #: Its name.
    api_version: str = ""  #: As apps/v1.


class RecommendationTarget(Struct):
    """``type`` is ``workload`` or ``podSelector``, and says which of the other two counts."""

    type: Annotated[str, REQUIRED] = always("")  #: workload or podSelector.
    workload: WorkloadRef | None = None  #: The workload.
    pod_selector: LabelSelector | None = None  #: The pods.


class RecommendationSpec(Struct):
    #: What is looked at.
    target: Annotated[RecommendationTarget, REQUIRED] = msgspec.field(default_factory=RecommendationTarget)


class ContainerRecommendation(Struct):
    container_name: str = ""  #: The container.
    resources: Quantities | None = None  #: What it should request.


class PodRecommendation(Struct):
    container_statuses: list[ContainerRecommendation] | None = None  #: By container.


class RecommendationStatus(Struct):
    pod_status: PodRecommendation | None = None  #: The recommendation.
    update_time: TimeText | None = None  #: When it was made.
    conditions: list[DeviceCondition] | None = None  #: How far it can be trusted.


class Recommendation(Object):
    """Recommended requests, by container."""

    spec: RecommendationSpec = msgspec.field(default_factory=RecommendationSpec)
    status: RecommendationStatus = msgspec.field(default_factory=RecommendationStatus)
